"""Histories, oracles and devices made by hand, for the tests of the checks."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.checker.histories import History, Outcome, Violation, Write
from tests.chaos.checker.invariants import Holder
from tests.chaos.checker.oracle import (
    ConversationRow,
    MessageRow,
    Oracle,
    ParticipantRow,
)
from tests.chaos.checker.replicas import Fetched, Replica
from tests.chaos.checker.views import Fresh

CHAT = "chat"
TENANT = str(UUID(int=1))
LANDLORD = str(UUID(int=2))
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def message(seq: int, sender: str = TENANT, **parts: Any) -> MessageRow:
    row = MessageRow(
        id=f"id{seq}",
        chat=CHAT,
        seq=seq,
        rev=seq,
        sender=sender,
        content=f"text {seq}",
        key=f"key{seq}",
        is_deleted=False,
        created_at=MOMENT + timedelta(seconds=seq),
    )
    return replace(row, **parts)


def oracle(*messages: MessageRow, **parts: Any) -> Oracle:
    """One conversation with these messages, of which the landlord has read nothing."""
    rows = messages or (message(1), message(2))
    found = Oracle(
        chats={CHAT: ConversationRow(CHAT, TENANT, LANDLORD, len(rows), len(rows))},
        messages={CHAT: rows},
        replaced={},
        participants={
            (CHAT, TENANT): ParticipantRow(0, 0, 0),
            (CHAT, LANDLORD): ParticipantRow(0, 0, len(rows)),
        },
        totals={TENANT: 0, LANDLORD: len(rows)},
        receipts=[],
    )
    return replace(found, **parts)


def write(number: int, began: float | None = 0.0, ended: float = 1.0, **parts: Any) -> Write:
    """An acknowledged send of the tenant."""
    sent = Write(
        kind="send",
        device="phone",
        sender=UUID(TENANT),
        chat=CHAT,
        text=f"text {number}",
        began=began,
        ended=ended,
        outcome=Outcome.ACKNOWLEDGED,
        message_id=f"id{number}",
        seq=number,
    )
    return replace(sent, **parts)


def history(*writes: Write) -> History:
    return History(writes=list(writes) or [write(1), write(2)])


def wire(row: MessageRow) -> dict[str, Any]:
    """A message as a client gets it."""
    return {
        "id": row.id, "conversation_id": CHAT, "seq": row.seq, "rev": row.rev,
        "sender_id": row.sender, "sender_role": "client", "sender": None,
        "message_type": "text", "content": row.content, "media_url": None,
        "created_at": str(row.created_at), "updated_at": "", "edited_at": None,
        "is_deleted": row.is_deleted, "client_msg_id": row.key, "reply_to_seq": None,
        "status": "sent",
    }  # fmt: skip


def view(stored: Oracle, viewer: str, **parts: Any) -> dict[str, Any]:
    """A conversation as its viewer gets it."""
    row, (peer,) = stored.chats[CHAT], {TENANT, LANDLORD} - {viewer}
    last = stored.messages[CHAT][-1]
    return {
        "id": CHAT, "client_user_id": TENANT, "owner_user_id": LANDLORD, "updated_at": "",
        "last_seq": row.last_seq, "rev": row.rev,
        "unread_count": stored.participants[CHAT, viewer].unread_count,
        "read_seq": stored.participants[CHAT, viewer].read_seq,
        "peer_read_seq": stored.participants[CHAT, peer].read_seq,
        "peer_delivered_seq": stored.participants[CHAT, peer].delivered_seq,
        "archived_by_client": row.archived[0], "archived_by_owner": row.archived[1],
        "last_message": wire(last), **parts,
    }  # fmt: skip


def fetched(stored: Oracle, viewer: str, **parts: Any) -> Fresh:
    messages = [wire(row) for row in stored.messages[CHAT]]
    total = stored.totals[viewer]
    return Fresh({CHAT: Fetched(view(stored, viewer, **parts), messages)}, total)


def holder(stored: Oracle, viewer: str = LANDLORD) -> Holder:
    """A device that holds all of it."""

    def complain(invariant: int, what: str, chat_id: str) -> None:
        pytest.fail(what)

    replica = Replica(viewer, complain)
    changes = [wire(row) for row in stored.messages[CHAT]]
    replica.take({**view(stored, viewer), "changes": changes, "limited": False})
    return Holder("laptop", viewer, replica)


def found(violations: Iterable[Violation]) -> set[int]:
    return {violation.invariant for violation in violations}
