"""The host's users and listings, as far as the server reads them, and last-seen times."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import Listing, User

_EXISTS = text("SELECT EXISTS (SELECT FROM core.users WHERE id = :id)")


async def user_exists(connection: AsyncConnection, user_id: UUID) -> bool:
    return bool((await connection.execute(_EXISTS, {"id": user_id})).scalar_one())


_MISSING = text("""
    SELECT asked.id FROM unnest(CAST(:ids AS uuid[])) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM core.users WHERE users.id = asked.id)
""")


async def list_missing(connection: AsyncConnection, user_ids: Collection[UUID]) -> list[UUID]:
    """Return those of `user_ids` who do not exist."""
    result = await connection.execute(_MISSING, {"ids": list(user_ids)})
    return [row.id for row in result]


def users_query(host: HostTables) -> Any:
    """The statement for `get_users`; it depends on the columns of the host's table."""
    return text(f"""
        SELECT u.id, {host.select("users", "u", "live")} FROM core.users u WHERE u.id = ANY (:ids)
    """)


async def get_users(
    connection: AsyncConnection, query: Any, user_ids: Collection[UUID]
) -> dict[UUID, User]:
    """Return those of `user_ids` who exist, by their ids."""
    result = await connection.execute(query, {"ids": list(user_ids)})
    return {row.id: User(*row) for row in result}


@dataclass(frozen=True, slots=True)
class OwnedListing:
    """A listing and whose it is."""

    listing: Listing
    owner_id: UUID


def listing_query(host: HostTables) -> Any:
    """The statement for `get_listing`; it depends on the columns of the host's table."""
    return text(f"""
        SELECT l.id, l.owner_user_id, {host.select("listings", "l", "live")}
        FROM core.listings l JOIN core.users owner ON owner.id = l.owner_user_id
        WHERE l.id = :id
    """)


async def get_listing(
    connection: AsyncConnection, query: Any, listing_id: UUID
) -> OwnedListing | None:
    """The listing, if it is there and its owner is, too: nobody else can answer for it."""
    row = (await connection.execute(query, {"id": listing_id})).one_or_none()
    if row is None:
        return None
    listing = Listing(row.id, row.live_title, row.live_price, row.live_currency)
    return OwnedListing(listing, row.owner_user_id)


_SEEN = text("""
    WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), seen AS (
        INSERT INTO chat.user_presence (user_id, last_seen_at, updated_at)
        SELECT id, now, now FROM core.users, clock WHERE id = ANY (:user_ids) ORDER BY id
        ON CONFLICT (user_id) DO UPDATE
        SET last_seen_at = greatest(user_presence.last_seen_at, excluded.last_seen_at),
            updated_at = excluded.updated_at
    )
    SELECT now FROM clock
""")


async def set_last_seen(connection: AsyncConnection, user_ids: Collection[UUID]) -> datetime:
    """To now: the time, by PostgreSQL's clock, since those of the nodes may differ."""
    result = await connection.execute(_SEEN, {"user_ids": list(user_ids)})
    at: datetime = result.scalar_one()
    return at


_FORGET_VANISHED = text("""
    WITH seen AS (
        DELETE FROM chat.user_presence WHERE user_id IN (
            SELECT user_id FROM chat.user_presence p
            WHERE NOT EXISTS (SELECT FROM core.users WHERE users.id = p.user_id)
            LIMIT :limit
        ) RETURNING 1
    ), pushed AS (
        DELETE FROM chat.push_notifications WHERE id IN (
            SELECT id FROM chat.push_notifications n
            WHERE NOT EXISTS (SELECT FROM core.users WHERE users.id = n.user_id)
            LIMIT :limit
        ) RETURNING 1
    )
    SELECT greatest((SELECT count(*) FROM seen), (SELECT count(*) FROM pushed))
""")


async def forget_vanished(connection: AsyncConnection, limit: int) -> int:
    """Delete presence and push rows of users who no longer exist, at most `limit` of each.

    Answers how many of the kind of which there were more: with `limit`, there may be others.
    """
    count: int = (await connection.execute(_FORGET_VANISHED, {"limit": limit})).scalar_one()
    return count


_LAST_SEEN = text("SELECT last_seen_at FROM chat.user_presence WHERE user_id = :user_id")


async def get_last_seen(connection: AsyncConnection, user_id: UUID) -> datetime | None:
    result = await connection.execute(_LAST_SEEN, {"user_id": user_id})
    return result.scalar_one_or_none()
