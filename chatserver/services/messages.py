"""Messages: sending, reading back, editing, deleting."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from chatserver.backplane.limits import Limits
from chatserver.db.engine import Database
from chatserver.errors import (
    ChatError,
    Forbidden,
    IdempotencyConflict,
    InvalidPayload,
    NotFound,
    RateLimited,
    Unavailable,
)
from chatserver.events import MessageDeleted, MessageUpdated, Publisher, UnreadChanged
from chatserver.models import Message, MessageType, Principal, Role
from chatserver.repositories import conversations, messages, receipts
from chatserver.repositories.appends import NewMessage, Outcome
from chatserver.repositories.conversations import Membership
from chatserver.services.access import (
    access_conversation,
    access_message,
    check_may_write,
    closed,
    lock_conversation,
    note_access,
    note_visit,
    observer,
)
from chatserver.services.content import clean_media_url, clean_text
from chatserver.services.hints import HeadHints
from chatserver.services.senders import SenderService
from chatserver.services.writer import MessageWriter
from chatserver.settings import MessageSettings


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as its sender wrote it; nothing about it is checked yet but types."""

    content: str = ""
    message_type: MessageType = MessageType.TEXT
    media_url: str | None = None
    attachment_id: UUID | None = None
    client_msg_id: UUID | None = None
    reply_to_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A stored message; `is_duplicate` when an earlier send with the same key stored it."""

    message: Message
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class History:
    """A page of messages, and whether there are more in the same direction."""

    messages: Sequence[Message]
    has_more: bool


def _refusal(outcome: Outcome) -> ChatError:
    """Return the sender's error; a new one each time, for it takes a traceback along."""
    match outcome:
        case Outcome.CONFLICT:
            return IdempotencyConflict()
        case Outcome.CLOSED:
            return closed()
        case Outcome.OBSERVER:
            return observer()
        case Outcome.BAD_REPLY:
            problem = "There is no such message in the conversation."
            return InvalidPayload(fields={"reply_to_seq": [problem]})
        case _:
            return NotFound()


class MessageService:
    """See the module. Every method raises NotFound for what is not the caller's."""

    def __init__(
        self,
        database: Database,
        writer: MessageWriter,
        publisher: Publisher,
        heads: HeadHints,
        rate_limits: Limits,
        senders: SenderService,
        settings: MessageSettings,
    ) -> None:
        self._database = database
        self._writer = writer
        self._publisher = publisher
        self._heads = heads
        self._rate_limits = rate_limits
        self._senders = senders
        self._settings = settings

    async def send(self, principal: Principal, conversation_id: UUID, draft: Draft) -> Sent:
        """Store a message and tell the members.

        When this returns, the message is committed with a permanent `seq`. Repeating
        it with the same `client_msg_id` and body is safe for ever and answers the
        first message. Raises Forbidden (a closed conversation, an observer, a system
        message by an ordinary caller), IdempotencyConflict, InvalidPayload, RateLimited, and
        Unavailable, after which the message may be stored or not.
        """
        try:
            self._check_type(principal, draft)
            media_url = self._media_url(draft)
            content = self._clean(draft.content, draft.message_type)
            await self._check_rate(principal)
            appended, message = await self._writer.append(
                NewMessage(
                    id=uuid7(),
                    conversation_id=conversation_id,
                    sender_id=principal.user_id,
                    voice=await self._senders.voice(principal),
                    message_type=draft.message_type,
                    content=content,
                    media_url=media_url,
                    reply_to_seq=draft.reply_to_seq,
                    client_msg_id=draft.client_msg_id,
                    digest=_digest(draft, content),
                )
            )
            if message is not None:
                if message.sender_role.is_outside:
                    note_visit(principal, conversation_id, "send")
                return Sent(message, is_duplicate=False)
            if appended.outcome is Outcome.DUPLICATE:
                return Sent(await self.get(principal, appended.message_id), is_duplicate=True)
            raise _refusal(appended.outcome)
        except ChatError as error:
            error.about = {
                "conversation_id": str(conversation_id),
                "sender_id": str(principal.user_id),
                "message_type": draft.message_type.value,
                "message_length": len(draft.content),
            }
            raise

    async def get(self, principal: Principal, message_id: UUID) -> Message:
        async with self._database.reads() as connection:
            return await self._access(connection, principal, message_id)

    async def history(
        self,
        principal: Principal,
        conversation_id: UUID,
        *,
        limit: int,
        skip: int = 0,
        before: datetime | None = None,
        before_seq: int | None = None,
        after_seq: int | None = None,
    ) -> History:
        """At most `limit` messages, newest first; oldest first with `after_seq`.

        At most one of `before`, `before_seq` and `after_seq` is given.
        """
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
            page = await messages.list_messages(
                connection,
                conversation_id,
                membership.lifetime,
                limit=limit + 1,
                skip=skip,
                before=before,
                before_seq=before_seq,
                after_seq=after_seq,
            )
            page = await self._senders.fill_in(connection, page)
        note_access(principal, membership, "history")
        return History(page[:limit], has_more=len(page) > limit)

    async def edit(self, principal: Principal, message_id: UUID, content: str) -> Message:
        """Replace the text of the caller's own message and keep what it replaced.

        Raises Forbidden when it is not the caller's, no text, deleted, older than the
        edit window, in a closed conversation, or for an observer. The same text again
        changes nothing.
        """
        text = self._clean(content, MessageType.TEXT)
        await self._check_rate(principal)
        async with self._lock_message(principal, message_id) as (connection, membership, message):
            at = await conversations.now(connection)
            self._check_editable(principal, message, at)
            if message.content == text:
                return message
            check_may_write(principal, membership)
            rev = membership.rev + 1
            await messages.replace_content(connection, message, content=text, rev=rev, at=at)
            await conversations.touch(connection, membership.id, rev=rev, at=at)
            edited = await self._access(connection, principal, message_id)
        note_access(principal, membership, "edit")
        self._publisher.publish(MessageUpdated(edited, membership.member_ids))
        return edited

    async def delete(self, principal: Principal, message_id: UUID) -> None:
        """Make the caller's own message a tombstone: its number stays, its text goes.

        Deleting it again changes nothing. Raises Forbidden for another's message,
        in a closed conversation, and for an observer.
        """
        async with self._lock_message(principal, message_id) as (connection, membership, message):
            if message.sender_id != principal.user_id:
                raise Forbidden("Only its sender may delete a message.")
            if message.is_deleted:
                return
            check_may_write(principal, membership)
            rev, at = membership.rev + 1, await conversations.now(connection)
            await messages.replace_content(
                connection, message, content="", rev=rev, at=at, is_delete=True
            )
            unread = await receipts.forget_unread(
                connection, membership.id, sender_id=message.sender_id, seq=message.seq
            )
            await conversations.touch(connection, membership.id, rev=rev, at=at)
            deleted = await self._access(connection, principal, message_id)
        note_access(principal, membership, "delete")
        self._publisher.publish(MessageDeleted(deleted, membership.member_ids))
        for user_id, count, total, version in unread:
            self._publisher.publish(UnreadChanged(user_id, membership.id, count, total, version))

    async def _access(
        self, connection: AsyncConnection, principal: Principal, message_id: UUID
    ) -> Message:
        """Like `access_message`, with its sender filled in."""
        found = await access_message(connection, principal, message_id)
        return (await self._senders.fill_in(connection, [found]))[0]

    @asynccontextmanager
    async def _lock_message(
        self, principal: Principal, message_id: UUID
    ) -> AsyncIterator[tuple[AsyncConnection, Membership, Message]]:
        """A transaction in which nobody else can change the message or its conversation.

        When its end is not known (the COMMIT was cut off, the caller is gone), the
        participants are told to look again.
        """
        locked: list[UUID] = []
        try:
            async with self._database.transaction() as connection:
                found = await access_message(connection, principal, message_id)
                membership = await lock_conversation(connection, principal, found.conversation_id)
                locked.append(membership.id)
                # Read again: what was read before the lock may be stale.
                message = await self._access(connection, principal, message_id)
                yield connection, membership, message
        except (Unavailable, asyncio.CancelledError):
            self._heads.request(locked)
            raise

    def _check_editable(self, principal: Principal, message: Message, at: datetime) -> None:
        if message.sender_id != principal.user_id:
            raise Forbidden("Only its sender may edit a message.")
        if message.message_type is not MessageType.TEXT or message.is_deleted:
            raise Forbidden("Only a text message that is not deleted can be edited.")
        if at - message.created_at > timedelta(seconds=self._settings.edit_window):
            raise Forbidden("The time in which the message could be edited is over.")

    def _check_type(self, principal: Principal, draft: Draft) -> None:
        """Check what the type allows; that the parts fit together is checked by the schema."""
        if draft.message_type is MessageType.SYSTEM and not principal.is_privileged:
            raise Forbidden("Only the host application may send system messages.")
        if draft.attachment_id is not None:
            raise InvalidPayload(fields={"attachment_id": ["There is no such attachment."]})

    def _media_url(self, draft: Draft) -> str | None:
        """The URL to store: a medium has one, nothing else does."""
        is_media = draft.message_type in (MessageType.IMAGE, MessageType.DOCUMENT)
        if is_media and draft.media_url is None:
            raise InvalidPayload(fields={"media_url": [f"Required for {draft.message_type}."]})
        if draft.media_url is None:
            return None
        if not is_media:
            raise InvalidPayload(fields={"media_url": [f"Not for {draft.message_type}."]})
        return clean_media_url(draft.media_url, self._settings.media_origins)

    def _clean(self, content: str, message_type: MessageType) -> str:
        """The text to store; a medium may come without any."""
        if not content and message_type in (MessageType.IMAGE, MessageType.DOCUMENT):
            return ""
        return clean_text(content, self._settings.max_length)

    async def _check_rate(self, principal: Principal) -> None:
        """The limit is for people: the host's own back end may write to all of them."""
        if principal.role is Role.SERVICE:
            return
        retry_after = await self._rate_limits.hit(principal.user_id)
        if retry_after is not None:
            raise RateLimited(retry_after=retry_after)


def _digest(draft: Draft, content: str) -> bytes:
    """Sixteen bytes that stand for the body: the same for the same message."""
    parts = (
        draft.message_type,
        content,
        draft.media_url or "",
        str(draft.attachment_id or ""),
        str(draft.reply_to_seq or ""),
    )
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()
