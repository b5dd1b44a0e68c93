"""Members who come into a conversation and leave it, and agents in all of an owner's.

Whoever calls `add` or `remove` has locked the conversation. Both write the rows of
`participants` and repeat the list in the conversation's own row, which is what decides:
see `appends`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import MemberRole, Side, Unread
from chatserver.repositories.conversations import Membership, letter
from chatserver.repositories.sides import side_of


@dataclass(frozen=True, slots=True)
class Known:
    """Membership of a user in a conversation, now or before; `side` outlives both."""

    role: MemberRole
    side: str | None
    has_left: bool


_KNOWN = text(f"""
    SELECT role, {side_of("p")} AS side, left_at IS NOT NULL AS has_left
    FROM chat.participants p
    WHERE conversation_id = :conversation_id AND user_id = :user_id
""")

_COUNT = text("SELECT count(*) FROM chat.participants WHERE conversation_id = :conversation_id")


async def get_known(
    connection: AsyncConnection, conversation_id: UUID, user_id: UUID
) -> Known | None:
    """None for one who never was in it."""
    values = {"conversation_id": conversation_id, "user_id": user_id}
    row = (await connection.execute(_KNOWN, values)).one_or_none()
    return None if row is None else Known(MemberRole(row.role), row.side, row.has_left)


async def count_ever(connection: AsyncConnection, conversation_id: UUID) -> int:
    """Return how many are or were in it."""
    result = await connection.execute(_COUNT, {"conversation_id": conversation_id})
    return int(result.scalar_one())


def user_query(host: HostTables) -> Any:
    """The statement for `hold_user`; it depends on what the server may do with the table.

    The row is locked as a foreign key would: one that is being deleted is waited for.
    """
    return text(f"""
        SELECT id FROM core.users WHERE id = :id {"FOR KEY SHARE" if host.may_lock_users else ""}
    """)


async def hold_user(connection: AsyncConnection, query: Any, user_id: UUID) -> bool:
    """Return whether the user exists, who then does so until the end of the transaction."""
    return (await connection.execute(query, {"id": user_id})).scalar_one_or_none() is not None


# Who comes back finds the cursors of before. An observer counts nothing.
_ADD = text(f"""
    WITH added AS (
        INSERT INTO chat.participants AS p (
            conversation_id, user_id, role, joined_seq, joined_at
        )
        VALUES (:conversation_id, :user_id, :role, :joined_seq, :at)
        ON CONFLICT (conversation_id, user_id) DO UPDATE
        SET role = excluded.role, active_on = excluded.active_on, left_at = NULL,
            joined_at = CASE WHEN p.left_at IS NULL THEN p.joined_at ELSE excluded.joined_at END,
            joined_seq = CASE WHEN p.left_at IS NULL AND p.role <> 'observer'
                         THEN p.joined_seq ELSE excluded.joined_seq END,
            former_side = CASE WHEN excluded.role = 'observer' THEN {side_of("p")} END
    )
    INSERT INTO chat.unread_totals (user_id) VALUES (:user_id) ON CONFLICT DO NOTHING
""")

_REMOVE = text("""
    UPDATE chat.participants
    SET left_at = :at, left_xid = pg_current_xact_id()
    WHERE conversation_id = :conversation_id AND user_id = :user_id
""")

_FORGET = text("""
    WITH counted AS MATERIALIZED (
        SELECT unread_count AS n FROM chat.participants
        WHERE conversation_id = :conversation_id AND user_id = :user_id AND unread_count > 0
    ), cleared AS (
        UPDATE chat.participants p SET unread_count = 0 FROM counted
        WHERE p.conversation_id = :conversation_id AND p.user_id = :user_id
    )
    UPDATE chat.unread_totals t
    SET unread_count = t.unread_count - counted.n, version = t.version + 1
    FROM counted
    WHERE t.user_id = :user_id
    RETURNING t.unread_count, t.version
""")

_LIST = text("""
    UPDATE chat.conversations
    SET member_ids = :member_ids, member_roles = CAST(CAST(:letters AS text[]) AS "char"[]),
        members_xid = pg_current_xact_id(), changed_xid = pg_current_xact_id(),
        assigned_user_id = :assigned_user_id, rev = :rev, updated_at = :at
    WHERE id = :id
""")


async def add(
    connection: AsyncConnection,
    membership: Membership,
    user_id: UUID,
    role: MemberRole,
    *,
    at: datetime,
) -> tuple[Membership, Unread | None]:
    """Make the user a member, or give a member another role; `rev` counts on by one.

    Nothing that was sent before is unread to one who is new. Answers how the conversation
    is now, and the counters of one who became an observer, where they had any.
    """
    await connection.execute(
        _ADD,
        {
            "conversation_id": membership.id,
            "user_id": user_id,
            "role": role.value,
            "joined_seq": membership.last_seq,
            "at": at,
        },
    )
    unread = None if role.is_counted else await _forget_unread(connection, membership.id, user_id)
    roles = {**membership.roles, user_id: role}
    return await _write(connection, membership, roles, at), unread


async def remove(
    connection: AsyncConnection, membership: Membership, user_id: UUID, *, at: datetime
) -> tuple[Membership, Unread | None]:
    """Like `add`, for a member who leaves: their unread messages are none from now on."""
    unread = await _forget_unread(connection, membership.id, user_id)
    values = {"conversation_id": membership.id, "user_id": user_id, "at": at}
    await connection.execute(_REMOVE, values)
    roles = {user: role for user, role in membership.roles.items() if user != user_id}
    return await _write(connection, membership, roles, at), unread


async def _forget_unread(
    connection: AsyncConnection, conversation_id: UUID, user_id: UUID
) -> Unread | None:
    values = {"conversation_id": conversation_id, "user_id": user_id}
    row = (await connection.execute(_FORGET, values)).one_or_none()
    return None if row is None else Unread(conversation_id, user_id, 0, *row)


async def _write(
    connection: AsyncConnection,
    membership: Membership,
    roles: dict[UUID, MemberRole],
    at: datetime,
) -> Membership:
    """Repeat who is in it in the conversation's row, the observers last."""
    ordered = sorted(roles.items(), key=lambda one: not one[1].is_counted)
    member_ids = [user_id for user_id, _ in ordered]
    letters = [letter(role) for _, role in ordered]
    assigned = membership.assigned_user_id
    is_there = assigned is not None and assigned in roles and roles[assigned].side is Side.OWNER
    written = replace(
        membership,
        member_ids=tuple(member_ids),
        letters="".join(letters),
        rev=membership.rev + 1,
        assigned_user_id=assigned if is_there else None,
    )
    await connection.execute(
        _LIST,
        {
            "id": membership.id,
            "member_ids": member_ids,
            "letters": letters,
            "assigned_user_id": written.assigned_user_id,
            "rev": written.rev,
            "at": at,
        },
    )
    return written


# Standing agents

_HOLD_OWNER = text("SELECT pg_advisory_xact_lock(hashtextextended('standing ' || :owner_id, 0))")


async def hold_owner(connection: AsyncConnection, owner_id: UUID) -> None:
    """Wait for those who open conversations of this owner; they wait until the commit."""
    await connection.execute(_HOLD_OWNER, {"owner_id": str(owner_id)})


_SET_STANDING = text("""
    INSERT INTO chat.standing_agents AS s (owner_user_id, agent_user_id)
    VALUES (:owner_id, :agent_id)
    ON CONFLICT (owner_user_id, agent_user_id) DO UPDATE
    SET created_at = now(), ended_at = NULL, walked_to = NULL, is_done = false
    WHERE s.ended_at IS NOT NULL
    RETURNING true
""")

_END_STANDING = text("""
    UPDATE chat.standing_agents SET ended_at = now(), walked_to = NULL, is_done = false
    WHERE owner_user_id = :owner_id AND agent_user_id = :agent_id AND ended_at IS NULL
""")

_LIST_STANDING = text("""
    SELECT agent_user_id FROM chat.standing_agents
    WHERE owner_user_id = :owner_id AND ended_at IS NULL ORDER BY created_at, agent_user_id
""")


async def set_standing(connection: AsyncConnection, owner_id: UUID, agent_id: UUID) -> bool:
    """From the commit on, an agent of every conversation that is opened; whether that is new.

    In those that there are, `get_walk` says what is to be done.
    """
    values = {"owner_id": owner_id, "agent_id": agent_id}
    return bool((await connection.execute(_SET_STANDING, values)).scalar_one_or_none())


async def end_standing(connection: AsyncConnection, owner_id: UUID, agent_id: UUID) -> bool:
    """Remove a standing agent; return whether the user was one."""
    values = {"owner_id": owner_id, "agent_id": agent_id}
    return (await connection.execute(_END_STANDING, values)).rowcount > 0


async def list_standing(connection: AsyncConnection, owner_id: UUID) -> Sequence[UUID]:
    """The longest first."""
    return (await connection.execute(_LIST_STANDING, {"owner_id": owner_id})).scalars().all()


@dataclass(frozen=True, slots=True)
class Walk:
    """A change of standing agents that is not in all conversations yet, and the next of them.

    `is_over`: the agent is to be removed, not added.
    """

    owner_id: UUID
    agent_id: UUID
    is_over: bool
    conversation_ids: Sequence[UUID]


# Of several nodes each takes another one.
_WALK = text("""
    SELECT owner_user_id, agent_user_id, ended_at IS NOT NULL AS is_over, walked_to
    FROM chat.standing_agents WHERE NOT is_done
    ORDER BY created_at LIMIT 1
    FOR UPDATE SKIP LOCKED
""")

_NEXT = text("""
    SELECT id FROM chat.conversations
    WHERE owner_user_id = :owner_id AND (CAST(:walked_to AS uuid) IS NULL OR id > :walked_to)
      AND (:agent_id = ANY (member_ids)) = :is_over
    ORDER BY id LIMIT :limit
""")

_WALKED = text("""
    UPDATE chat.standing_agents SET walked_to = :walked_to, is_done = :is_done
    WHERE owner_user_id = :owner_id AND agent_user_id = :agent_id
""")


async def get_walk(connection: AsyncConnection, limit: int) -> Walk | None:
    """Return what is to be done next, locked until the commit, of at most `limit` conversations."""
    found = (await connection.execute(_WALK)).one_or_none()
    if found is None:
        return None
    values = {
        "owner_id": found.owner_user_id,
        "agent_id": found.agent_user_id,
        "is_over": found.is_over,
        "walked_to": found.walked_to,
        "limit": limit,
    }
    ids = (await connection.execute(_NEXT, values)).scalars().all()
    return Walk(found.owner_user_id, found.agent_user_id, found.is_over, ids)


async def set_walked(connection: AsyncConnection, walk: Walk, *, is_done: bool) -> None:
    """Go on behind its conversations the next time, or no more."""
    await connection.execute(
        _WALKED,
        {
            "owner_id": walk.owner_id,
            "agent_id": walk.agent_id,
            "walked_to": walk.conversation_ids[-1] if walk.conversation_ids else None,
            "is_done": is_done,
        },
    )
