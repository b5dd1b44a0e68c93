"""Mistakes in what is stored, and in what is said to be."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chatserver.db.engine import create_engine
from chatserver.db.host import HostTables
from chatserver.errors import InvalidPayload
from chatserver.models import Message, Principal
from chatserver.repositories import appends, conversations, messages
from chatserver.repositories.appends import NewMessage, Outcome
from chatserver.services import writer
from chatserver.services.messages import Draft, MessageService, Sent
from chatserver.services.writer import MessageWriter, Stored
from tests.chaos.checker.faults.planting import every, fault, in_append, in_text, patch


@fault(1, 3)
def ack_before_commit() -> None:
    """A send is acknowledged whether or not its transaction is committed."""
    append, is_lost = appends.append_messages, every(10)

    async def append_and_hope(connection: Any, batch: Sequence[NewMessage]) -> Any:
        transaction = connection.transaction()
        await transaction.start()
        found = await append(connection, batch)
        await (transaction.rollback() if is_lost() else transaction.commit())
        return found

    patch(writer, "append_messages", append_and_hope)


@fault(1, sign="was refused with 'invalid_payload', but is stored")
def refused_but_stored() -> None:
    """A bad reply is refused only after it was stored."""
    send = MessageService.send

    async def send_first(
        self: MessageService, principal: Principal, conversation_id: UUID, draft: Draft
    ) -> Sent:
        if draft.reply_to_seq is None:
            return await send(self, principal, conversation_id, draft)
        await send(self, principal, conversation_id, replace(draft, reply_to_seq=None))
        raise InvalidPayload

    patch(MessageService, "send", send_first)


@fault(1, 2)
def no_dedupe() -> None:
    """A client_msg_id is stored, but not looked up."""
    in_append(
        ("AND client_msg_id = i.client_msg_id", "AND false"),
        (
            "AND client_msg_id IS NOT NULL\n",
            "AND client_msg_id IS NOT NULL ON CONFLICT DO NOTHING\n",
        ),
    )


@fault(1, sign="changed.* was acknowledged .* but is not stored")
def conflict_as_duplicate() -> None:
    """A client_msg_id that comes again with another body is taken for a repetition."""
    in_append(("k.digest = i.digest", "k.digest IS NOT NULL"))


@fault(1, 2, 3)
def seq_out_of_lock() -> None:
    """Numbers are given out by several connections that do not wait for each other."""
    in_append(("FOR NO KEY UPDATE", ""))
    engines: list[AsyncEngine] = []

    async def append(self: MessageWriter, new: NewMessage) -> Stored:
        if not engines:
            url = self._engine.url.render_as_string(hide_password=False)
            engines.append(create_engine(url, pool_size=5, isolation_level="AUTOCOMMIT"))
        async with engines[0].connect() as connection:
            (appended,) = await appends.append_messages(await writer._driver(connection), [new])
        is_stored = appended.outcome is Outcome.STORED
        stored = appended, writer._message(new, appended) if is_stored else None
        self._publish([new], [stored])
        return stored

    patch(MessageWriter, "append", append)


@fault(1, 3, 4, 9)
def order_by_time() -> None:
    """History is ordered by a clock that is not always right."""
    in_append(
        (
            "greatest(clock.now, s.active_at + interval '1 microsecond')",
            "clock.now - random() * interval '50 milliseconds'",
        )
    )
    for name in ("_NEWEST", "_BEFORE_SEQ", "_BEFORE_TIME", "_AFTER_SEQ"):
        in_text(messages, name, "ORDER BY m.seq", "ORDER BY m.created_at")


@fault(1, sign="a deleted message still has its text")
def delete_keeps_text() -> None:
    """A deleted message is marked, but its text stays."""
    replace_content = messages.replace_content

    async def keep(connection: Any, message: Message, *, content: str, **options: Any) -> None:
        await replace_content(connection, message, content=content or message.content, **options)

    patch(messages, "replace_content", keep)


@fault(3, 9)
def edit_without_rev() -> None:
    """An edit is no change of its conversation."""
    replace_content, touch = messages.replace_content, conversations.touch

    async def replace_as_before(
        connection: Any, message: Message, *, rev: int, **options: Any
    ) -> None:
        await replace_content(connection, message, rev=rev - 1, **options)

    async def touch_as_before(connection: Any, conversation_id: UUID, *, rev: int, at: Any) -> None:
        await touch(connection, conversation_id, rev=rev - 1, at=at)

    patch(messages, "replace_content", replace_as_before)
    patch(conversations, "touch", touch_as_before)


@fault(9, sign="archived|a message did not bring it back")
def archive_stays() -> None:
    """A new message does not bring an archived conversation back."""
    in_append(("archived_by_client = false, archived_by_owner = false", "is_active = is_active"))


CASCADE = """
    ALTER TABLE chat.conversations ADD CONSTRAINT conversations_client_user_id_fkey
        FOREIGN KEY (client_user_id) REFERENCES core.users (id) ON DELETE CASCADE
"""


@fault(1, sign="its conversation is gone", around="departure")
def deletion_cascades() -> None:
    """Who is deleted by the host takes the other's conversation along: an old key is back."""
    inspect = HostTables.inspect

    async def restore_key(connection: AsyncConnection) -> HostTables:
        await connection.execute(text(CASCADE))
        await connection.commit()
        return await inspect(connection)

    patch(HostTables, "inspect", restore_key)
