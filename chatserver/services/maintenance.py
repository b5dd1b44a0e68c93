"""Maintenance: partitions made ahead, and rows of people who are gone."""

import asyncio
from typing import Final

import structlog

from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.repositories import partitions, users
from chatserver.telemetry.metrics import Metrics

ATTEMPTS: Final = 10
PAUSE: Final = 1.0
"""Seconds between two attempts at a lock that others hold."""

VANISHED_AT_ONCE: Final = 1000
"""Rows that are deleted in one transaction."""

STRAYS_CHECK: Final = 10.0
"""Seconds between two looks at whether the default partition caught messages."""


class MaintenanceService:
    """`ensure_partitions` and `forget_vanished` are for the start of a node and every day,
    `look_for_strays` for every STRAYS_CHECK; all are safe on several nodes at once.
    """

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._has_strays = False
        self._log = structlog.get_logger(__name__)

    async def ensure_partitions(self) -> None:
        """Make the partitions of this month and three more, and look for strays.

        Raises Unavailable when the database is away, or busy at each of the attempts.
        """
        try:
            await self._make_partitions()
        finally:
            await self.look_for_strays()

    async def forget_vanished(self) -> None:
        """Delete what was a person's own alone, once the host has deleted the person.

        What they wrote to others, read of others and are counted for stays. Raises
        Unavailable when the database is away.
        """
        forgotten = 0
        while True:
            async with self._database.transaction() as connection:
                count = await users.forget_vanished(connection, VANISHED_AT_ONCE)
            forgotten += count
            if count < VANISHED_AT_ONCE:
                break
        if forgotten:
            self._log.info("vanished_users_forgotten", rows=forgotten)

    async def look_for_strays(self) -> None:
        """Raise the alarm when there are messages in the default partition, or end it.

        They are kept and found as all others. The metric `chat_default_partition_in_use`
        is 1 meanwhile, and that it begins is logged as an error. While the database is
        away it stays as it was.
        """
        try:
            async with self._database.transaction() as connection:
                has_strays = await partitions.has_stray_messages(connection)
        except Unavailable:
            return
        if has_strays and not self._has_strays:
            self._log.error("default_partition_in_use")
        self._has_strays = has_strays
        self._metrics.default_partition_in_use(has_strays)

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
