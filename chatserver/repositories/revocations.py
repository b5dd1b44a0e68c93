"""Revocations: which tokens and whose tokens are refused, and what has changed about that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.models import Revocation

PAGE: Final = 1000

_COLUMNS = "id, jti, user_id, revoked_at, expires_at, lifted_at IS NOT NULL AS is_lifted"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes since a mark, some of them perhaps told before; go on from `mark`."""

    revocations: Sequence[Revocation]
    mark: int


# The number of the oldest transaction that is still open: whatever commits after this has
# that number or a higher one, in whichever order they commit.
_MARK = "pg_snapshot_xmin(pg_current_snapshot())"

_GET_MARK = text(f"SELECT {_MARK}")

_CHANGES = text(f"""
    SELECT {_MARK} AS mark, {_COLUMNS}
    FROM (SELECT) AS always LEFT JOIN chat.revocations ON changed_xid >= CAST(:mark AS xid8)
""")


async def get_mark(connection: AsyncConnection) -> int:
    """Return where `list_changes` goes on from, for one who will have read all that is there."""
    mark: int = (await connection.execute(_GET_MARK)).scalar_one()
    return mark


async def list_changes(connection: AsyncConnection, mark: int) -> Changes:
    """The revocations that changed at or after `mark`, lifted ones too."""
    rows = (await connection.execute(_CHANGES, {"mark": mark})).all()
    return Changes([_from_row(row) for row in rows if row.id is not None], rows[0].mark)


_PAGE = text(f"""
    SELECT {_COLUMNS} FROM chat.revocations
    WHERE lifted_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
      AND (CAST(:after AS uuid) IS NULL OR id > :after)
    ORDER BY id LIMIT {PAGE}
""")


async def list_standing(
    connection: AsyncConnection, at: datetime, after: UUID | None
) -> Sequence[Revocation]:
    """A page of those not lifted that expire later than `at`, by id; `after` the last page's."""
    rows = await connection.execute(_PAGE, {"at": at, "after": after})
    return [_from_row(row) for row in rows]


# The longer of both lives: a repeat must not let a token in again.
_RENEW = f"""
    DO UPDATE SET
        revoked_at = CASE
            WHEN held.jti IS NULL OR held.lifted_at IS NOT NULL THEN
                greatest(held.revoked_at, excluded.revoked_at)
            ELSE held.revoked_at
        END,
        expires_at = CASE
            WHEN held.lifted_at IS NOT NULL THEN excluded.expires_at
            WHEN held.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
            ELSE greatest(held.expires_at, excluded.expires_at)
        END,
        lifted_at = NULL,
        changed_xid = pg_current_xact_id()
    RETURNING {_COLUMNS}, held.xmax = 0 AS is_new
"""

_ADD_TOKEN = text(f"""
    INSERT INTO chat.revocations AS held (jti, expires_at) VALUES (:jti, :expires_at)
    ON CONFLICT (jti) {_RENEW}
""")

_ADD_USER = text(f"""
    INSERT INTO chat.revocations AS held (user_id, expires_at) VALUES (:user_id, :expires_at)
    ON CONFLICT (user_id) {_RENEW}
""")


async def add_token(
    connection: AsyncConnection, jti: str, expires_at: datetime | None
) -> tuple[Revocation, bool]:
    """The revocation of a token, and whether it is a new row."""
    row = (await connection.execute(_ADD_TOKEN, {"jti": jti, "expires_at": expires_at})).one()
    return _from_row(row), row.is_new


async def add_user(
    connection: AsyncConnection, user_id: UUID, expires_at: datetime | None
) -> tuple[Revocation, bool]:
    """Like `add_token`, for all tokens of a user; a repeat moves `revoked_at` to now."""
    values = {"user_id": user_id, "expires_at": expires_at}
    row = (await connection.execute(_ADD_USER, values)).one()
    return _from_row(row), row.is_new


_LIFT = text(f"""
    UPDATE chat.revocations
    SET lifted_at = clock_timestamp(), changed_xid = pg_current_xact_id()
    WHERE id = :id AND lifted_at IS NULL
    RETURNING {_COLUMNS}
""")


async def lift(connection: AsyncConnection, revocation_id: UUID) -> Revocation | None:
    """The revocation, lifted; None where there is none that stands."""
    row = (await connection.execute(_LIFT, {"id": revocation_id})).one_or_none()
    return None if row is None else _from_row(row)


# Not at once: from a lifted row the nodes learn that it was lifted.
_DELETE_OVER = text("""
    DELETE FROM chat.revocations
    WHERE least(expires_at, lifted_at) < now() - interval '1 day'
""")


async def delete_over(connection: AsyncConnection) -> int:
    """Delete what expired or was lifted a day ago or earlier; how many there were."""
    return (await connection.execute(_DELETE_OVER)).rowcount


def _from_row(row: Any) -> Revocation:
    return Revocation(
        id=row.id,
        jti=row.jti,
        user_id=row.user_id,
        revoked_at=row.revoked_at,
        expires_at=_aware(row.expires_at),
        is_lifted=row.is_lifted,
    )


def _aware(value: datetime | None) -> datetime | None:
    """The driver's infinity, which is also the last moment of the year 9999, is naive."""
    return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)
