"""Head hints: telling clients where a conversation stands when an event may be missing."""

import asyncio
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import structlog

from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.events import HeadMoved, Publisher
from chatserver.repositories import conversations

RETRY_INTERVAL: Final = 0.5


class HeadHints:
    """Publishes `head` for conversations that may have changed without an event.

    A transaction whose COMMIT was cut off may have happened, but nobody published
    it. As soon as the database answers again, the participants are told the
    conversation's last `seq` and `rev`; a client that is behind asks `sync`.
    """

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._doubtful: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    def doubt(self, conversation_ids: Iterable[UUID]) -> None:
        """These may have changed. Returns at once; the hint follows when it can."""
        self._doubtful.update(conversation_ids)
        if self._doubtful and self._task is None:
            self._task = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Give up what could not be told: clients that reconnect sync anyway."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _tell(self) -> None:
        try:
            while self._doubtful:
                await self._tell_once()
        finally:
            self._task = None

    async def _tell_once(self) -> None:
        asked = list(self._doubtful)
        try:
            async with self._database.transaction() as connection:
                heads = await conversations.list_memberships(connection, asked)
        except Unavailable:
            await asyncio.sleep(RETRY_INTERVAL)
            return
        self._doubtful.difference_update(asked)
        self._log.info("heads_told", count=len(heads))
        for head in heads:
            self._publisher.publish(HeadMoved(head.id, head.last_seq, head.rev, head.participants))
