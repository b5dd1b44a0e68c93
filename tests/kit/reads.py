"""Rows that the statements of a block read."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Reads:
    """Rows that the statements in the block read, by index alone.

    `rows`: how many of each table; `tables`: those that were looked at, even in vain.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.rows: Counter[str] = Counter()
        self._scans: Counter[str] = Counter()

    @property
    def tables(self) -> set[str]:
        return set(+self._scans)

    async def __aenter__(self) -> "Reads":
        for kind in ("seqscan", "sort"):
            await self.connection.execute(text(f"SET LOCAL enable_{kind} = off"))
        for name, rows, scans in await self._count():
            self.rows[name] -= rows
            self._scans[name] -= scans
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, rows, scans in await self._count():
            self.rows[name] += rows
            self._scans[name] += scans
        self.rows = +self.rows

    async def _count(self) -> Sequence[Any]:
        """Of this transaction and those before it that are not reported yet."""
        return (await self.connection.execute(_READ)).all()


_READ = text("""
    SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0),
           coalesce(seq_scan, 0) + coalesce(idx_scan, 0)
    FROM pg_stat_xact_user_tables
""")
