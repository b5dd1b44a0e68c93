"""Readiness: whether this node can serve, as a load balancer asks every second or so."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import text

from chatserver.db import migrations
from chatserver.db.engine import Database

TIMEOUT = 1.0
"""Seconds after which a part that has not answered counts as away."""

FRESH = 0.5
"""Seconds for which an answer stands: however many ask, the database hears few of them."""

_PING = text("SELECT 1")


@dataclass(frozen=True, slots=True)
class Checks:
    """State of a node's parts, and whether it is draining."""

    database: bool
    migrations: bool
    backplane: bool
    draining: bool

    @property
    def is_ready(self) -> bool:
        return self.is_ready_alone and self.backplane

    @property
    def is_ready_alone(self) -> bool:
        """Ready but for the other nodes, which it may not hear."""
        return self.database and self.migrations and not self.draining


async def _alone() -> bool:
    """The backplane of a single node is its memory: always there."""
    return True


class Readiness:
    """To be made in a running loop."""

    def __init__(
        self, database: Database, backplane: Callable[[], Awaitable[bool]] = _alone
    ) -> None:
        """`backplane` says whether this node receives from others."""
        self._database = database
        self._backplane = backplane
        self._is_migrated = False
        self._drained = asyncio.get_running_loop().create_future()
        self._lock = asyncio.Lock()
        self._parts = (False, False, False)
        self._checked_at = float("-inf")
        self._log = structlog.get_logger(__name__)

    @property
    def draining(self) -> bool:
        return self._drained.done()

    def drain(self) -> None:
        """The node is about to end: from now on it is not ready."""
        if not self.draining:
            self._drained.set_result(None)

    @property
    def known(self) -> Checks:
        """The state of all parts when they were last looked at."""
        return Checks(*self._parts, draining=self.draining)

    async def check(self) -> Checks:
        """The state of all parts, at most half a second old; takes two seconds at most.

        A draining node says so at once, also to who waits when that begins: its parts
        are then as they were last known.
        """
        if not self.draining:
            await self._refresh_unless_drained()
        return self.known

    async def _refresh_unless_drained(self) -> None:
        refreshing = asyncio.create_task(self._refresh())
        try:
            await asyncio.wait([refreshing, self._drained], return_when=asyncio.FIRST_COMPLETED)
        finally:
            refreshing.cancel()

    async def _refresh(self) -> None:
        async with self._lock:
            if time.monotonic() - self._checked_at >= FRESH:
                database, migrated, backplane = await asyncio.gather(
                    self._answers("database", self._ping),
                    self._answers("migrations", self._migrated),
                    self._answers("backplane", self._backplane),
                )
                self._parts = database, migrated, backplane
                self._checked_at = time.monotonic()

    async def _answers(self, part: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Return whether the part answers yes in time; why it does not is for the log."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await ask()
        except Exception as error:
            self._log.warning("not_ready", part=part, error=type(error).__name__)
            return False

    async def _ping(self) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(_PING)
        return True

    async def _migrated(self) -> bool:
        """Asked until it is so: no migration is ever undone under a running node."""
        if not self._is_migrated:
            self._is_migrated = await migrations.is_current(self._database.engine)
        return self._is_migrated
