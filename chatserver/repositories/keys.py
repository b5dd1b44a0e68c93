"""Keys that nodes share, for each purpose; a new row is a new key."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Purpose(StrEnum):
    """Purpose of a key; none serves two."""

    BUS = "bus"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """`made_at` and `read_at` are seconds of the database's clock, since 1970."""

    id: int
    key: bytes
    made_at: float
    read_at: float


_LIST = text("""
    SELECT id, key,
           extract(epoch FROM made_at)::float8 AS made_at,
           extract(epoch FROM clock_timestamp())::float8 AS read_at
    FROM chat.keys
    WHERE purpose = :purpose
    ORDER BY id
""")

_MAKE = text("INSERT INTO chat.keys (purpose) VALUES (:purpose)")


async def list_keys(connection: AsyncConnection, purpose: Purpose) -> Sequence[StoredKey]:
    """All of them, the oldest first."""
    rows = await connection.execute(_LIST, {"purpose": purpose})
    return [StoredKey(row.id, row.key, row.made_at, row.read_at) for row in rows]


async def make_key(connection: AsyncConnection, purpose: Purpose) -> None:
    await connection.execute(_MAKE, {"purpose": purpose})
