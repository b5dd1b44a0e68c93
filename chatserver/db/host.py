"""Columns of the host's own tables: only a few of them are required."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The columns that the server shows where the host has them, and as which type.
OPTIONAL = {
    "users": {"first_name": "text", "last_name": "text", "profile_picture_url": "text"},
    "listings": {"title": "text", "price": "numeric", "currency": "text"},
}

_COLUMNS = text("""
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'core' AND table_name IN ('users', 'listings')
""")

_MAY_LOCK = text(
    "SELECT coalesce(has_any_column_privilege(to_regclass('core.users'), 'UPDATE'), false)"
)


@dataclass(frozen=True, slots=True)
class HostTables:
    """Optional columns that `core.users` and `core.listings` have.

    `may_lock_users`: the server's role may lock rows of `core.users`, as a foreign key does.
    """

    users: frozenset[str]
    listings: frozenset[str]
    may_lock_users: bool = True

    @classmethod
    async def inspect(cls, connection: AsyncConnection) -> "HostTables":
        """Ask the database; done once, at the start of a node."""
        found: dict[str, set[str]] = {"users": set(), "listings": set()}
        for row in await connection.execute(_COLUMNS):
            found[row.table_name].add(row.column_name)
        may_lock = (await connection.execute(_MAY_LOCK)).scalar_one()
        return cls(frozenset(found["users"]), frozenset(found["listings"]), may_lock)

    def select(self, table: str, alias: str, prefix: str) -> str:
        """`alias.title::text AS prefix_title, …`: NULL for a column that is not there."""
        present = getattr(self, table)
        return ", ".join(
            f"{f'{alias}.{name}' if name in present else 'NULL'}::{kind} AS {prefix}_{name}"
            for name, kind in OPTIONAL[table].items()
        )
