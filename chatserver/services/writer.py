"""The writer: every message of this node goes through here into PostgreSQL."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chatserver.aio.batcher import Batcher
from chatserver.db.engine import create_engine, describe, is_transient, unavailable
from chatserver.errors import InternalError
from chatserver.events import ConversationChanged, MessageSent, Publisher, UnreadChanged
from chatserver.models import Message, MessageStatus
from chatserver.repositories.appends import (
    Appended,
    NewMessage,
    Outcome,
    append_messages,
    append_under_locks,
    is_retryable,
)
from chatserver.repositories.locks import list_locked
from chatserver.services.hints import HeadHints
from chatserver.settings import DatabaseSettings, WriterSettings
from chatserver.telemetry.metrics import Metrics

MAX_REPEATS = 5

LINGER: Final = 2
"""Turns of the event loop between two batches where other nodes commit too: fewer and
larger batches cost all of them less, and meanwhile PostgreSQL works for the others. A node
alone does not wait: PostgreSQL would."""

CONNECTION_SETTINGS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "lock_timeout": "2s",
}
"""Of the writer's connection. Its one statement is planned once: what it joins is always
found by index, whatever the statistics of a young database say."""

Stored = tuple[Appended, Message | None]
"""Outcome of an append, and the message if it was stored now."""


Introduce = Callable[
    [AsyncConnection, Mapping[UUID, int]], Awaitable[Mapping[UUID, ConversationChanged]]
]

Append = Callable[[asyncpg.Connection, Sequence[NewMessage]], Awaitable[list[Appended]]]

FillIn = Callable[[AsyncConnection, Sequence[Message]], Awaitable[Sequence[Message]]]


class MessageWriter:
    """Commits sends in groups over a connection of its own, then publishes them.

    It publishes in the order of the numbers that it gave out, and does so itself
    rather than leave it to the senders: one who went away after the commit must not
    keep the message from the others. Acknowledging comes first.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        publisher: Publisher,
        heads: HeadHints,
        metrics: Metrics,
        settings: WriterSettings,
        *,
        introduce: Introduce,
        fill_in: FillIn,
        has_others: Callable[[], bool] = lambda: False,
        log_sent: Callable[[Sequence[Message]], None] | None = None,
    ) -> None:
        """`introduce` is asked what to tell the owners' sides of conversations before the first
        messages, given the `rev` before each; `fill_in` who the senders are that messages
        name; `has_others` whether other nodes write into the same database just now.
        `log_sent` records the messages of a commit, once they are on their way.
        """
        self._engine = engine
        self._publisher = publisher
        self._heads = heads
        self._metrics = metrics
        self._introduce = introduce
        self._fill_in = fill_in
        self._log_sent = log_sent
        self._connection: AsyncConnection | None = None
        self._introductions: Mapping[UUID, ConversationChanged] = {}
        self._log = structlog.get_logger(__name__)
        self._group = Batcher[NewMessage, Stored](
            self._flush,
            key=_key,
            linger=lambda: LINGER if has_others() else 0,
            after=self._publish,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            timeout=settings.timeout,
        )

    @staticmethod
    def create_engine(settings: DatabaseSettings) -> AsyncEngine:
        """The writer's own connection: a busy pool cannot keep messages waiting."""
        return create_engine(
            settings.url,
            pool_size=1,
            pool_timeout=settings.pool_timeout,
            statement_timeout=settings.statement_timeout,
            server_settings=CONNECTION_SETTINGS,
            isolation_level="AUTOCOMMIT",
        )

    async def append(self, new: NewMessage) -> Stored:
        """Store `new` for ever, or say why not; see `Outcome`.

        Raises Unavailable when the database is away: then the message may be stored
        or not, and sending it again with the same `client_msg_id` finds out.
        """
        return await self._group.submit(new)

    async def close(self) -> None:
        """Finish what waits, then give the connection back."""
        await self._group.drain()
        await self._disconnect()

    async def _flush(self, batch: list[NewMessage]) -> list[Stored | Exception]:
        started = time.perf_counter()
        results = await self._store(batch)
        self._metrics.committed(len(batch), time.perf_counter() - started)
        stored = _stored(results)
        news = {
            message.conversation_id: each.rev - 1
            for each, message in stored
            if message is not None and each.is_news
        }
        if news:
            self._introductions = await self._find_introductions(news)
        if any(message is not None and _is_unnamed(message) for _, message in stored):
            return await self._name_senders(results)
        return results

    async def _store(
        self, batch: Sequence[NewMessage], append: Append | None = None
    ) -> list[Stored | Exception]:
        """Append `batch`; where PostgreSQL refuses it, its halves, down to the one at fault."""
        try:
            appended = await self._append(batch, append)
        except Exception as error:
            if isinstance(error, asyncpg.LockNotAvailableError):
                return await self._store_unlocked(batch)
            if is_transient(error):
                return await self._give_up(batch, error)
            if len(batch) == 1:
                # Not the exception itself: it quotes the message.
                self._metrics.commit_failed("refused", 1)
                self._log.error("append_refused", error=describe(error), id=str(batch[0].id))
                return [InternalError()]
            middle = len(batch) // 2
            halves = batch[:middle], batch[middle:]
            return [each for half in halves for each in await self._store(half, append)]
        stale = [
            new for new, each in zip(batch, appended, strict=True) if each.outcome is Outcome.STALE
        ]
        # Of a conversation's messages in a batch all are stale or none: the order is kept.
        again = iter(await self._store(stale, append_under_locks) if stale else ())
        return [
            next(again)
            if each.outcome is Outcome.STALE
            else (each, _message(new, each) if each.outcome is Outcome.STORED else None)
            for new, each in zip(batch, appended, strict=True)
        ]

    async def _store_unlocked(self, batch: Sequence[NewMessage]) -> list[Stored | Exception]:
        """Append those that wait for no row that somebody holds for long; refuse the others."""
        try:
            held = await list_locked(await self._connect(), batch)
        except Exception as error:
            return await self._give_up(batch, error)
        self._metrics.commit_failed("locked", len(held) or len(batch))
        self._log.warning("rows_locked", count=len(held), batch=len(batch))
        if not held:  # It was something else, or it no longer is.
            return [unavailable() for _ in batch]
        free = [new for new in batch if new.id not in held]
        results = iter(await self._store(free) if free else [])
        return [unavailable() if new.id in held else next(results) for new in batch]

    async def _give_up(
        self, batch: Sequence[NewMessage], error: Exception
    ) -> list[Stored | Exception]:
        await self._disconnect()
        # It may have been committed all the same, and nothing was published.
        self._heads.request(new.conversation_id for new in batch)
        self._metrics.commit_failed("unavailable", len(batch))
        self._log.warning("append_failed", error=type(error).__name__, batch=len(batch))
        return [unavailable() for _ in batch]

    async def _append(self, batch: Sequence[NewMessage], append: Append | None) -> list[Appended]:
        append = append or append_messages
        for _ in range(MAX_REPEATS):
            try:
                return await append(await self._connect(), batch)
            except asyncpg.PostgresError as error:
                if not is_retryable(error):
                    raise
        return await append(await self._connect(), batch)

    async def _connect(self) -> asyncpg.Connection:
        """The open connection, or a new one if there is none or PostgreSQL closed it."""
        if self._connection is not None:
            driver = await _driver(self._connection)
            if not driver.is_closed():
                return driver
            await self._disconnect()
        self._connection = await self._engine.connect()
        return await _driver(self._connection)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def _find_introductions(
        self, news: Mapping[UUID, int]
    ) -> Mapping[UUID, ConversationChanged]:
        """Find what to tell before the first messages, which are acknowledged after this: so a
        second one, over whatever node, comes later than that there is the conversation.
        """
        try:
            await self._connect()
            assert self._connection is not None
            return await self._introduce(self._connection, news)
        except Exception as error:
            # Whoever gets a message of a conversation that they do not know asks `sync`.
            self._log.warning("introductions_failed", error=describe(error), count=len(news))
            await self._disconnect()
            return {}

    async def _name_senders(self, results: list[Stored | Exception]) -> list[Stored | Exception]:
        """With the names of co-clients and agents, which their messages carry."""
        try:
            await self._connect()
            assert self._connection is not None
            messages = [message for _, message in _stored(results) if message is not None]
            found = await self._fill_in(self._connection, messages)
        except Exception as error:
            # They are in the history, and in the list of participants.
            self._log.warning("senders_not_named", error=describe(error))
            await self._disconnect()
            return results
        named = {message.id: message for message in found}
        return [
            result
            if isinstance(result, Exception) or result[1] is None
            else (result[0], named[result[1].id])
            for result in results
        ]

    def _publish(self, _: list[NewMessage], results: Sequence[Stored | Exception]) -> None:
        introductions, self._introductions = self._introductions, {}
        stored = _stored(results)
        for appended, message in stored:
            if message is not None:
                if appended.is_news and message.conversation_id in introductions:
                    self._publisher.publish(introductions[message.conversation_id])
                self._metrics.message_sent(message.message_type)
                self._publisher.publish(MessageSent(message, appended.member_ids))
            for unread in appended.unread:
                self._publisher.publish(UnreadChanged.of(unread))
        if self._log_sent is not None:
            self._log_sent([message for _, message in stored if message is not None])


def _stored(results: Sequence[Stored | Exception]) -> list[Stored]:
    return [result for result in results if not isinstance(result, Exception)]


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    """asyncpg's own connection: it takes the arrays of a batch without a detour."""
    raw = await connection.get_raw_connection()
    assert raw.driver_connection is not None
    return raw.driver_connection  # type: ignore[no-any-return]


def _is_unnamed(message: Message) -> bool:
    return message.sender is None and message.sender_role.is_named


def _key(new: NewMessage) -> object | None:
    if new.client_msg_id is None:
        return None
    return new.conversation_id, new.sender_id, new.client_msg_id


def _message(new: NewMessage, stored: Appended) -> Message:
    role, voice = stored.sender_role, new.voice
    assert role is not None
    return Message(
        id=stored.message_id,
        conversation_id=new.conversation_id,
        seq=stored.seq,
        rev=stored.rev,
        sender_id=new.sender_id,
        sender_role=role,
        message_type=new.message_type,
        content=new.content,
        media_url=new.media_url,
        status=MessageStatus.SENT,
        created_at=stored.created_at,
        updated_at=stored.created_at,
        delivered_at=None,
        read_at=None,
        edited_at=None,
        is_deleted=False,
        client_msg_id=new.client_msg_id,
        reply_to_seq=new.reply_to_seq,
        sender=voice.user if voice is not None and role is voice.role else None,
    )
