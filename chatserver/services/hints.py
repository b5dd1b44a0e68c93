"""Resync hints: telling clients how something stands when they may not know, or know it wrongly."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.aio.tasks import end
from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.events import Event, HeadMoved, Publisher, UnreadChanged
from chatserver.repositories import conversations, nodes

RETRY_INTERVAL: Final = 0.5

Item = TypeVar("Item", bound=Hashable)


class Hints(ABC, Generic[Item]):
    """Publishes how the requested items stand, as soon as the database answers.

    What is requested again while they are read is read again: it may have changed since.
    """

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._requested: set[Item] = set()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    @abstractmethod
    async def _read(self, connection: AsyncConnection, asked: Sequence[Item]) -> Sequence[Event]:
        """Return the events to publish; nothing for what is not there."""

    def request(self, items: Iterable[Item]) -> None:
        """Clients may be wrong about these. Returns at once; the hint follows when it can."""
        self._requested.update(items)
        if self._requested and self._task is None:
            self._task = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Give up what could not be told: clients that reconnect sync anyway."""
        if self._task is not None:
            await end(self._task)

    async def _tell(self) -> None:
        try:
            while self._requested:
                await self._tell_once()
        finally:
            self._task = None

    async def _tell_once(self) -> None:
        asked, self._requested = self._requested, set()
        try:
            async with self._database.transaction() as connection:
                events = await self._read(connection, list(asked))
        except Unavailable:
            self._requested |= asked
            await asyncio.sleep(RETRY_INTERVAL)
            return
        self._log.info("resync_hints_sent", kind=type(self).__name__, count=len(events))
        for event in events:
            self._publisher.publish(event)


class HeadHints(Hints[UUID]):
    """`head` for conversations that may have changed without an event.

    A transaction whose COMMIT was cut off may have happened, but nobody published
    it. So the participants are told the conversation's last `seq` and `rev`; a client
    that is behind asks `sync`.
    """

    async def _read(self, connection: AsyncConnection, asked: Sequence[UUID]) -> Sequence[Event]:
        heads = await conversations.list_memberships(connection, asked)
        return [HeadMoved(head.id, head.last_seq, head.rev, head.audience) for head in heads]


class UnreadHints(Hints[tuple[UUID, UUID]]):
    """`unread` for users and conversations of which devices here may hold an old counter.

    See `realtime.unread.LatestUnread`. Only this node missed it, so only its
    devices are told.
    """

    async def _read(
        self, connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]
    ) -> Sequence[Event]:
        unread = await nodes.list_unread(connection, asked)
        return [UnreadChanged.of(counters, is_local=True) for counters in unread]
