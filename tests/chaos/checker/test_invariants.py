"""Each check sees what it is for: histories made by hand, without a server."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.checker import invariants, views
from tests.chaos.checker.histories import Archive, History, Outcome, Violation, Write
from tests.chaos.checker.invariants import Holder
from tests.chaos.checker.oracle import (
    ConversationRow,
    MessageRow,
    Oracle,
    ParticipantRow,
    ReceiptRow,
)
from tests.chaos.checker.replicas import Fetched, Replica
from tests.chaos.checker.views import Fresh, Resources

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


# 1: stored


def test_what_was_acknowledged_and_is_stored_is_right() -> None:
    assert not found(invariants.check_stored(history(), oracle()))


def test_an_acknowledged_send_that_is_not_stored_is_seen() -> None:
    assert found(invariants.check_stored(history(write(1), write(2), write(3)), oracle())) == {1}


def test_a_refused_send_that_is_stored_is_seen() -> None:
    refused = write(2, outcome=Outcome.REFUSED, code="invalid_payload")
    assert found(invariants.check_stored(history(write(1), refused), oracle())) == {1}


def test_an_unknown_send_may_be_stored_or_not() -> None:
    unknown = [write(n, outcome=Outcome.UNKNOWN, message_id="", seq=0) for n in (2, 3)]
    assert not found(invariants.check_stored(history(write(1), *unknown), oracle()))


def test_a_message_that_nobody_wrote_is_seen() -> None:
    assert found(invariants.check_stored(history(write(1)), oracle())) == {1}


def test_a_message_stored_with_another_number_than_acknowledged_is_seen() -> None:
    swapped = history(write(1, seq=2), write(2))
    assert found(invariants.check_stored(swapped, oracle())) == {1}


def test_a_message_stored_as_another_senders_is_seen() -> None:
    stored = oracle(message(1), message(2, sender=LANDLORD))
    assert found(invariants.check_stored(history(), stored)) == {1}


def test_an_acknowledged_edit_that_is_nowhere_is_seen() -> None:
    edit = write(1, kind="edit", text="changed", target="id1")
    assert found(invariants.check_stored(history(write(1), write(2), edit), oracle())) == {1}


def test_an_edit_that_a_later_one_replaced_is_found() -> None:
    stored = oracle(message(1, content="third"), message(2), replaced={"id1": ["text 1", "second"]})
    edits = [write(1, kind="edit", text=text, target="id1") for text in ("second", "third")]
    assert not found(invariants.check_stored(history(write(1), write(2), *edits), stored))


def test_a_delete_that_was_acknowledged_but_did_nothing_is_seen() -> None:
    done = history()
    done.deletes["id1"].add(Outcome.ACKNOWLEDGED)
    assert found(invariants.check_deletes(done, oracle())) == {1}


def test_a_delete_by_nobody_and_a_text_that_survived_it_are_seen() -> None:
    stored = oracle(message(1, is_deleted=True), message(2))
    assert len(list(invariants.check_deletes(history(), stored))) == 2


# 2: once


def test_two_rows_of_one_key_are_seen() -> None:
    assert found(invariants.check_keys(oracle(message(1), message(2, key="key1")))) == {2}


def test_a_text_that_is_stored_twice_is_seen_even_without_a_key() -> None:
    stored = oracle(message(1, key=""), message(2, key="", content="text 1"))
    assert found(invariants.check_keys(stored)) == {2}
    assert not found(invariants.check_keys(oracle()))


def test_a_repeated_send_with_another_answer_is_seen() -> None:
    done, sent = history(), write(1)
    done.acknowledge(sent, {"id": "id2", "seq": 2, "rev": 2})
    assert found(done.violations) == {2}


# 3: numbered


@pytest.mark.parametrize(
    "messages",
    [
        (message(1), message(3)),
        (message(1), message(1, id="other")),
        (message(1), message(2, created_at=MOMENT)),
        (message(1), message(2, rev=1)),
        (message(1), message(2, rev=9)),
    ],
    ids=["gap", "double", "time", "rev twice", "rev beyond"],
)
def test_bad_numbers_are_seen(messages: tuple[MessageRow, ...]) -> None:
    assert found(invariants.check_numbers(oracle(*messages))) == {3}
    assert not found(invariants.check_numbers(oracle()))


def test_a_device_that_misses_a_message_is_seen() -> None:
    device = holder(oracle(message(1)))
    assert found(invariants.check_logs([device], oracle())) == {3}
    assert not found(invariants.check_logs([holder(oracle())], oracle()))


def test_a_device_that_applied_in_another_order_is_seen() -> None:
    device = holder(oracle())
    device.replica.chats[CHAT].log.reverse()
    assert found(invariants.check_logs([device], oracle())) == {3}


# 4: in real-time order


def test_a_later_send_with_a_smaller_number_is_seen() -> None:
    late = history(write(2, began=0.0, ended=1.0), write(1, began=1.5, ended=2.0))
    assert found(invariants.check_real_time(late)) == {4}


def test_sends_at_the_same_time_may_have_any_order() -> None:
    both = history(write(2, began=0.0, ended=1.0), write(1, began=0.5, ended=2.0))
    assert not found(invariants.check_real_time(both))


def test_a_send_counts_from_its_first_attempt() -> None:
    done = history()
    done.writes.clear()
    retried, other = write(1, outcome=None, began=None), write(2, outcome=None, began=None)
    done.clock = iter((1.0, 2.0, 3.0, 4.0)).__next__
    done.begin(retried)  # at 1, and it is lost
    done.begin(other)  # at 2, acknowledged at 3
    done.acknowledge(other, {"id": "id2", "seq": 2, "rev": 2})
    done.begin(retried)
    done.acknowledge(retried, {"id": "id1", "seq": 1, "rev": 1})  # at 4
    assert not found(invariants.check_real_time(done))


# 5: nobody else's


def test_a_text_or_a_token_in_the_log_is_seen() -> None:
    token = "head.body.signature"
    assert found(views.check_log('{"body": "zq3x17z hello"}', [])) == {5}
    assert found(views.check_log("token: head.body.signature", [token])) == {5}
    assert found(views.check_log("eyJhbGciOi", [])) == {5}
    assert not found(views.check_log('{"event": "serving"}', [token]))
    assert not found(views.check_log('{"socket_id": "l-Z1cAOfjUDFeyJXAABN"}', [token]))


def test_a_list_with_somebody_elses_conversation_is_seen() -> None:
    stored = oracle()
    stranger = str(UUID(int=3))
    assert found(views.check_fetched({stranger: fetched(stored, TENANT)}, stored)) == {5}


# 6: counted


def test_a_count_that_is_no_recount_is_seen() -> None:
    wrong = dict(oracle().participants)
    wrong[CHAT, LANDLORD] = ParticipantRow(0, 0, 1)
    stored = oracle(participants=wrong)
    assert found(views.check_unread([], {}, stored)) == {6}
    assert not found(views.check_unread([holder(oracle())], {}, oracle()))


def test_a_deleted_message_counts_no_more() -> None:
    stored = oracle(message(1, is_deleted=True, content=""), message(2))
    assert found(views.check_unread([], {}, stored)) == {6}


def test_a_count_that_a_device_or_a_fetch_has_otherwise_is_seen() -> None:
    device = holder(oracle())
    device.replica.chats[CHAT].told_unread = 7
    assert found(views.check_unread([device], {}, oracle())) == {6}
    answer = {LANDLORD: fetched(oracle(), LANDLORD, unread_count=9)}
    assert found(views.check_unread([], answer, oracle())) == {6}


def test_a_total_that_is_no_sum_is_seen() -> None:
    assert found(views.check_unread([], {}, oracle(totals={LANDLORD: 5}))) == {6}


# 7: receipts


def cursors(delivered: int, read: int) -> Oracle:
    rows = dict(oracle().participants)
    rows[CHAT, LANDLORD] = ParticipantRow(delivered, read, 0)
    return oracle(participants=rows)


def test_delivered_without_a_devices_word_is_seen() -> None:
    done = history()
    assert found(invariants.check_cursors(done, cursors(1, 0))) == {7}
    done.begin_report("delivered", CHAT, LANDLORD, 1)
    assert not found(invariants.check_cursors(done, cursors(1, 0)))
    assert found(invariants.check_cursors(done, cursors(1, 1))) == {7}


def test_reading_says_that_it_was_delivered() -> None:
    done = history()
    done.begin_report("read", CHAT, LANDLORD, 2)
    assert not found(invariants.check_cursors(done, cursors(2, 2)))


def test_an_acknowledged_report_that_is_forgotten_is_seen() -> None:
    done = history()
    done.begin_report("delivered", CHAT, LANDLORD, 2)
    done.end_report("delivered", CHAT, LANDLORD, 2)
    assert found(invariants.check_cursors(done, cursors(1, 0))) == {7}


@pytest.mark.parametrize("place", [(1, 2), (3, 3)], ids=["read first", "beyond the last"])
def test_cursors_out_of_order_are_seen(place: tuple[int, int]) -> None:
    done = history()
    done.begin_report("read", CHAT, LANDLORD, 3)
    assert found(invariants.check_cursors(done, cursors(*place))) == {7}


def test_a_receipt_that_goes_back_is_seen() -> None:
    log = [ReceiptRow(CHAT, LANDLORD, "delivered", seq, rev) for seq, rev in ((2, 3), (1, 4))]
    assert found(invariants.check_cursors(history(), oracle(receipts=log))) == {7}


# 9: as a fresh fetch


@pytest.mark.parametrize(
    "difference",
    [{"rev": 3}, {"read_seq": 1}, {"peer_read_seq": 1}, {"archived_by_owner": True}],
    ids=str,
)
def test_a_device_that_differs_from_a_fresh_fetch_is_seen(difference: dict[str, Any]) -> None:
    device, stored = holder(oracle()), oracle()
    assert not found(views.check_views([device], {LANDLORD: fetched(stored, LANDLORD)}))
    answer = fetched(stored, LANDLORD, **difference)
    assert found(views.check_views([device], {LANDLORD: answer})) == {9}


def test_a_text_that_differs_and_a_conversation_that_is_missing_are_seen() -> None:
    changed = fetched(oracle(message(1), message(2, content="changed")), LANDLORD)
    assert found(views.check_views([holder(oracle())], {LANDLORD: changed})) == {9}
    assert found(views.check_views([holder(oracle())], {LANDLORD: Fresh({}, 0)})) == {9}


def test_a_fetch_that_is_not_what_is_stored_is_seen() -> None:
    answer = {TENANT: fetched(oracle(message(1)), TENANT)}
    assert found(views.check_fetched(answer, oracle())) == {9}
    assert not found(views.check_fetched({TENANT: fetched(oracle(), TENANT)}, oracle()))


def archived(by_owner: bool) -> Oracle:
    row = oracle().chats[CHAT]
    return oracle(chats={CHAT: replace(row, archived=(False, by_owner))})


def test_a_conversation_that_a_message_does_not_bring_back_is_seen() -> None:
    done = history(write(1), write(2, began=5.0, ended=6.0))
    done.archives = [Archive(CHAT, LANDLORD, True, 2.0, 3.0)]
    assert found(views.check_archived(done, archived(True))) == {9}
    assert not found(views.check_archived(done, archived(False)))


def test_an_archiving_that_is_lost_is_seen() -> None:
    done = history()
    done.archives = [Archive(CHAT, LANDLORD, True, 2.0, 3.0)]
    assert found(views.check_archived(done, archived(False))) == {9}
    assert not found(views.check_archived(done, archived(True)))


def test_what_the_last_event_said_and_is_not_so_is_seen() -> None:
    device = holder(oracle())
    assert not found(views.check_told([device], oracle()))
    assert found(views.check_told([device], archived(True))) == {9}
    device.replica.chats[CHAT].told_unread = 0
    device.replica.total_unread = 0
    assert len(list(views.check_told([device], oracle()))) == 2


# 10: nothing left over

BEFORE = Resources(0, 0, 10, 30, 100 * 2**20, 2, 0)


@pytest.mark.parametrize(
    "change",
    [{"sockets": 1}, {"sessions": 1}, {"tasks": 20}, {"files": 50}, {"memory": 200 * 2**20},
     {"connections": 15}, {"transactions": 1}],
    ids=str,
)  # fmt: skip
def test_whatever_is_left_over_is_seen(change: dict[str, float]) -> None:
    assert not found(views.check_resources(BEFORE, BEFORE))
    assert found(views.check_resources(BEFORE, replace(BEFORE, **change))) == {10}
