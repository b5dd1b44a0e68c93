"""Conversations: who may do what in them, locking, archiving, closing.

Opening: see `openings`; what viewers are shown: `conversation_views`; who comes and goes:
`members`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.models import MemberRole, Side

_LETTERS: Final = {
    "C": MemberRole.CLIENT,
    "c": MemberRole.CO_CLIENT,
    "O": MemberRole.OWNER,
    "a": MemberRole.AGENT,
    "v": MemberRole.OBSERVER,
}
"""Letters of roles in `member_roles`."""


def letter(role: MemberRole) -> str:
    """Return the letter of a role in `member_roles`."""
    return next(letter for letter, found in _LETTERS.items() if found is role)


@dataclass(frozen=True, slots=True)
class Membership:
    """Facts that decide who may do what in a conversation, and where its messages lie.

    `member_ids` begin with the client and the owner and end with the observers; `letters`
    has a letter for the role of each.
    """

    id: UUID
    client_user_id: UUID
    owner_user_id: UUID
    member_ids: tuple[UUID, ...]
    letters: str
    created_at: datetime
    last_message_at: datetime | None
    is_active: bool
    last_seq: int
    rev: int
    shown_empty: bool
    assigned_user_id: UUID | None

    @property
    def roles(self) -> dict[UUID, MemberRole]:
        """Role of each member."""
        roles = (_LETTERS[letter] for letter in self.letters)
        return dict(zip(self.member_ids, roles, strict=True))

    def role_of(self, user_id: UUID) -> MemberRole | None:
        """Return the user's role; None for one who is no member."""
        return self.roles.get(user_id)

    def side_of(self, user_id: UUID) -> Side | None:
        role = self.role_of(user_id)
        return None if role is None else role.side

    @property
    def audience(self) -> tuple[UUID, ...]:
        """Members who have been told that there is the conversation."""
        if self.shown_empty or self.last_seq > 0:
            return self.member_ids
        return tuple(user for user, role in self.roles.items() if role.side is Side.CLIENT)

    @property
    def lifetime(self) -> tuple[datetime, datetime]:
        """Between which times its messages were created."""
        return self.created_at, self.last_message_at or self.created_at


MEMBERSHIP = """
    SELECT id, client_user_id, owner_user_id, member_ids,
           array_to_string(member_roles, '') AS letters, created_at, last_message_at,
           is_active, last_seq, rev, shown_empty, assigned_user_id
    FROM chat.conversations
"""
"""The columns of a Membership; a condition is to follow."""


def membership_of(row: Row[Any]) -> Membership:
    """From a row of MEMBERSHIP."""
    return Membership(**{**row._mapping, "member_ids": tuple(row.member_ids)})


_BY_ID = f"{MEMBERSHIP} WHERE id = :id"
_GET_MEMBERSHIP = text(_BY_ID)
_LOCK = text(f"{_BY_ID} FOR NO KEY UPDATE")


async def get_membership(connection: AsyncConnection, conversation_id: UUID) -> Membership | None:
    row = (await connection.execute(_GET_MEMBERSHIP, {"id": conversation_id})).one_or_none()
    return None if row is None else membership_of(row)


_LIST_MEMBERSHIPS = text(f"{MEMBERSHIP} WHERE id = ANY (:ids)")


async def list_memberships(
    connection: AsyncConnection, conversation_ids: Sequence[UUID]
) -> list[Membership]:
    """Return those of the conversations that exist, in no order."""
    rows = await connection.execute(_LIST_MEMBERSHIPS, {"ids": list(conversation_ids)})
    return [membership_of(row) for row in rows]


async def lock(connection: AsyncConnection, conversation_id: UUID) -> Membership | None:
    """Lock the conversation until the end of the transaction: its numbers stand still."""
    row = (await connection.execute(_LOCK, {"id": conversation_id})).one_or_none()
    return None if row is None else membership_of(row)


_TOUCH = text("""
    UPDATE chat.conversations
    SET rev = :rev, updated_at = :at, changed_xid = pg_current_xact_id()
    WHERE id = :id
""")


async def touch(
    connection: AsyncConnection, conversation_id: UUID, *, rev: int, at: datetime
) -> None:
    """Note a change of the conversation, which the caller has locked."""
    await connection.execute(_TOUCH, {"id": conversation_id, "rev": rev, "at": at})


_CLOCK = text("SELECT clock_timestamp()")


async def now(connection: AsyncConnection) -> datetime:
    """The database's clock: the only one that all nodes share."""
    return (await connection.execute(_CLOCK)).scalar_one()  # type: ignore[no-any-return]


_SET_ARCHIVED = {
    side: text(f"""
        UPDATE chat.conversations
        SET archived_by_{side} = :archived, updated_at = clock_timestamp(),
            changed_xid = pg_current_xact_id()
        WHERE id = :id AND archived_by_{side} <> :archived
    """)
    for side in Side
}


async def set_archived(
    connection: AsyncConnection, conversation_id: UUID, *, side: Side, archived: bool
) -> bool:
    """Archive it, or bring it back, for one side; whether that changed anything."""
    values = {"id": conversation_id, "archived": archived}
    return (await connection.execute(_SET_ARCHIVED[side], values)).rowcount > 0


_SET_ACTIVE = text("""
    UPDATE chat.conversations
    SET is_active = :is_active, rev = :rev, updated_at = :at, changed_xid = pg_current_xact_id()
    WHERE id = :id
""")


async def set_active(
    connection: AsyncConnection, conversation_id: UUID, *, is_active: bool, rev: int, at: datetime
) -> None:
    """Close it, or open it again; the caller has locked it."""
    values = {"id": conversation_id, "is_active": is_active, "rev": rev, "at": at}
    await connection.execute(_SET_ACTIVE, values)


_ASSIGN = text("""
    UPDATE chat.conversations
    SET assigned_user_id = :user_id, rev = :rev, updated_at = :at,
        changed_xid = pg_current_xact_id()
    WHERE id = :id
""")


async def assign(
    connection: AsyncConnection,
    conversation_id: UUID,
    user_id: UUID | None,
    *,
    rev: int,
    at: datetime,
) -> None:
    """Note who answers in it; the caller has locked it."""
    values = {"id": conversation_id, "user_id": user_id, "rev": rev, "at": at}
    await connection.execute(_ASSIGN, values)


_LOG = text("""
    INSERT INTO chat.conversation_changes (
        conversation_id, rev, kind, user_id, role, by_user_id, at
    )
    VALUES (:id, :rev, :kind, :user_id, :role, :by_user_id, :at)
""")


class Change(StrEnum):
    """Change of a conversation beside messages and receipts, which counts in `rev`."""

    ADDED = "added"
    REMOVED = "removed"
    CLOSED = "closed"
    REOPENED = "reopened"
    ASSIGNED = "assigned"


async def log_change(
    connection: AsyncConnection,
    conversation_id: UUID,
    kind: Change,
    *,
    rev: int,
    at: datetime,
    by_user_id: UUID,
    user_id: UUID | None = None,
    role: MemberRole | None = None,
) -> None:
    """Note whose change has this `rev`."""
    await connection.execute(
        _LOG,
        {
            "id": conversation_id,
            "rev": rev,
            "kind": kind.value,
            "user_id": user_id,
            "role": None if role is None else role.value,
            "by_user_id": by_user_id,
            "at": at,
        },
    )


_SHARES = text("""
    SELECT EXISTS (
        SELECT FROM chat.participants mine
        JOIN chat.participants theirs USING (conversation_id)
        JOIN chat.conversations c ON c.id = mine.conversation_id
        WHERE mine.user_id = :user_id AND theirs.user_id = :other_id
          AND mine.left_at IS NULL AND theirs.left_at IS NULL
          AND (mine.role IN ('client', 'co_client') OR c.last_seq > 0 OR c.shown_empty)
    )
""")


async def is_shared(connection: AsyncConnection, user_id: UUID, other_id: UUID) -> bool:
    """Return whether two users are in a conversation together (or are the same).

    In one without a word, only its client's side is, as far as the owner's was told.
    """
    values = {"user_id": user_id, "other_id": other_id}
    return bool((await connection.execute(_SHARES, values)).scalar_one())
