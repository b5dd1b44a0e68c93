"""Maintenance: the partitions that messages will need, made ahead."""

import asyncio
from typing import Final

import structlog

from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.metrics import Metrics
from chatserver.repositories import partitions

ATTEMPTS: Final = 10
PAUSE: Final = 1.0
"""Seconds between two attempts at a lock that others hold."""


class MaintenanceService:
    """Runs at the start of a node and every day; safe on several nodes at once."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._log = structlog.get_logger(__name__)

    async def ensure_partitions(self) -> None:
        """Make the partitions of this month and three more, and look for strays.

        Messages in the default partition are kept and found as all others; that
        there are some raises the metric `chat_default_partition_in_use`. Raises
        Unavailable when the database is away, or busy at each of the attempts.
        """
        try:
            await self._make_partitions()
        finally:
            await self._look_for_strays()

    async def _make_partitions(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._database.transaction() as connection:
                    made = await partitions.ensure_partitions(connection)
                break
            except Unavailable:
                if attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(PAUSE)
        if made:
            self._log.info("partitions_made", count=made)

    async def _look_for_strays(self) -> None:
        async with self._database.transaction() as connection:
            has_strays = await partitions.has_stray_messages(connection)
        if has_strays:
            self._log.error("default_partition_in_use")
        self._metrics.default_partition_in_use(has_strays)
