"""Reconciliation: after a gap in the bus, telling sockets which conversations to look at."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.events import HeadMoved, Publisher, UnreadChanged
from chatserver.models import Unread
from chatserver.repositories import nodes

INTERVAL: Final = 1.0
"""Seconds between two calls of `tick`."""

LAG: Final = 6.0
"""Seconds that a change may have been committed before it was published."""

LINGER: Final = 2.0
"""Seconds for which it goes on after the last gap: a node that was killed may have a
transaction that still ends."""

CUT_OFF_AFTER: Final = 2.0
"""Seconds without Redis after which a node tells the others so, in PostgreSQL."""

UNTOLD: Final = CUT_OFF_AFTER + 2 * INTERVAL
"""Most seconds for which a node is cut off when the others get to know it."""

_MARKS: Final = 40
_USERS: Final = 500


class Hearing(Protocol):
    """Receiving state of this node's bus, and for how long it has not received."""

    node_id: UUID

    @property
    def is_receiving(self) -> bool: ...

    @property
    def seconds_partitioned(self) -> float: ...


class _Mark(NamedTuple):
    at: float
    value: int


class ReconciliationService:
    """Sends `head` to local sockets for what changed while events may have been missed.

    And `unread`, since of a message's two events the second alone may be missing: then
    nothing is to be synced, and the counter that was told is wrong.

    It reads the conversations of the users who are connected here, and only
    those that changed since a moment before the gap. A node that is cut off from
    Redis says so in PostgreSQL, and the others reconcile for as long as that lasts.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        hearing: Hearing,
        local_users: Callable[[], Collection[UUID]],
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._hearing = hearing
        self._local_users = local_users
        self._marks: deque[_Mark] = deque(maxlen=_MARKS)
        self._since: float | None = None
        self._until = 0.0
        self._from: int | None = None
        self._is_cut_off = False
        self._log = structlog.get_logger(__name__)

    def require(self, since: float) -> None:
        """Events that were published after `since` (`time.monotonic`) may be missing."""
        self._until = time.monotonic() + LINGER
        if self._since is None or since < self._since:
            self._since = since
            self._from = None  # begin again, from further back

    async def tick(self) -> None:
        """To be called every second: note where the database stands, and reconcile after a gap.

        A database that is away is asked again the next time: a gap stays until then.
        """
        with suppress(Unavailable):
            await self._look()

    async def _look(self) -> None:
        started = time.monotonic()
        async with self._database.transaction() as connection:
            await self._tell_others(connection)
            state = await nodes.get_state(connection, self._hearing.node_id)
        self._note(_Mark(started, state.mark))
        if state.others_are_cut_off:
            self.require(started - UNTOLD)
        if self._since is not None:
            await self._reconcile(started, state.mark)

    async def _tell_others(self, connection: AsyncConnection) -> None:
        """Say in the database that this node is cut off, or that it no longer is."""
        hearing = self._hearing
        if not hearing.is_receiving and hearing.seconds_partitioned > CUT_OFF_AFTER:
            await nodes.set_cut_off(connection, hearing.node_id)
            self._is_cut_off = True
        elif hearing.is_receiving and self._is_cut_off:
            await nodes.clear_cut_off(connection, hearing.node_id)
            self._is_cut_off = False

    def _note(self, mark: _Mark) -> None:
        """Marks never fall, but for a crash of PostgreSQL, after which numbers are given anew."""
        if self._marks and mark.value < self._marks[-1].value:
            marks = [_Mark(at, min(value, mark.value)) for at, value in self._marks]
            self._marks.clear()
            self._marks.extend(marks)
        self._marks.append(mark)

    def _mark_before(self, at: float) -> int:
        """The newest mark that is surely older than what was published after `at`."""
        chosen = self._marks[0]
        for mark in self._marks:
            if mark.at > at - LAG:
                break
            chosen = mark
        return chosen.value

    async def _reconcile(self, started: float, mark: int) -> None:
        assert self._since is not None
        since = self._since
        begin = self._mark_before(since) if self._from is None else self._from
        told = 0
        for users in _chunks(self._local_users()):
            heads, unread = await self._find(users, begin)
            for head in heads:
                self._publisher.publish(head)
            for counters in unread:
                self._publisher.publish(UnreadChanged.of(counters, is_local=True))
            told += len(heads)
        if told:
            self._log.info("reconciled", heads=told)
        if self._since == since:
            self._from = mark
            if started > self._until:
                self._since = self._from = None

    async def _find(
        self, users: Collection[UUID], begin: int
    ) -> tuple[Sequence[HeadMoved], Sequence[Unread]]:
        """Return what changed since the mark `begin` of the conversations of `users`."""
        here = set(users)
        async with self._database.transaction() as connection:
            heads = [
                HeadMoved(
                    conversation_id=head.id,
                    last_seq=head.last_seq,
                    rev=head.rev,
                    member_ids=tuple(user for user in head.audience if user in here),
                    is_local=True,
                )
                for head in await nodes.list_changed(connection, users, begin)
            ]
            holders = [(user, head.conversation_id) for head in heads for user in head.member_ids]
            return heads, await nodes.list_unread(connection, holders)


def _chunks(users: Collection[UUID]) -> Iterator[list[UUID]]:
    ordered = list(users)
    for start in range(0, len(ordered), _USERS):
        yield ordered[start : start + _USERS]
