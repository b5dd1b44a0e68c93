"""Nodes in the database, for when Redis cannot tell, and changes that they may have missed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.models import Unread
from chatserver.repositories.conversations import MEMBERSHIP, Membership, membership_of

_STATE = text("""
    SELECT
        pg_snapshot_xmin(pg_current_snapshot()) AS mark,
        EXISTS (
            SELECT FROM chat.cut_off_nodes
            WHERE node_id <> :node_id AND seen_at > now() - interval '6 seconds'
        ) AS others_are_cut_off
""")


@dataclass(frozen=True, slots=True)
class State:
    """Every transaction below `mark` has ended. Whether the events of another node do
    not reach this one."""

    mark: int
    others_are_cut_off: bool


async def get_state(connection: AsyncConnection, node_id: UUID) -> State:
    row = (await connection.execute(_STATE, {"node_id": node_id})).one()
    return State(row.mark, row.others_are_cut_off)


_ADD = text("""
    INSERT INTO chat.cut_off_nodes (node_id) VALUES (:node_id)
    ON CONFLICT (node_id) DO UPDATE SET seen_at = now()
""")

_REMOVE = text("""
    DELETE FROM chat.cut_off_nodes
    WHERE node_id = :node_id OR seen_at < now() - interval '1 hour'
""")


async def set_cut_off(connection: AsyncConnection, node_id: UUID) -> None:
    """Say that this node's events do not reach others; it counts for six seconds."""
    await connection.execute(_ADD, {"node_id": node_id})


async def clear_cut_off(connection: AsyncConnection, node_id: UUID) -> None:
    await connection.execute(_REMOVE, {"node_id": node_id})


_SEE = text("""
    INSERT INTO chat.nodes (id, version) VALUES (:node_id, :version)
    ON CONFLICT (id) DO UPDATE SET seen_at = now()
""")

_FORGET = text("""
    DELETE FROM chat.nodes WHERE id = :node_id OR seen_at < now() - interval '1 hour'
""")

_OLDEST = text("""
    SELECT least(
        (SELECT min(version) FROM chat.nodes WHERE seen_at > now() - :alive * interval '1 second'),
        (SELECT 0 FROM chat.cut_off_nodes
         WHERE seen_at > now() - :alive * interval '1 second'
           AND node_id NOT IN (SELECT id FROM chat.nodes)
         LIMIT 1)
    )
""")


async def see(connection: AsyncConnection, node_id: UUID, version: int) -> None:
    """Say that this node is alive."""
    await connection.execute(_SEE, {"node_id": node_id, "version": version})


async def forget(connection: AsyncConnection, node_id: UUID) -> None:
    """Say that this node has ended; those that have not been seen for an hour go, too."""
    await connection.execute(_FORGET, {"node_id": node_id})


async def get_oldest_version(connection: AsyncConnection, alive: float) -> int:
    """The lowest version of the nodes that were seen in the last `alive` seconds.

    0 for those that do not say it, as far as the database knows of them: when they are cut
    off from Redis. There has to be one node.
    """
    version: int = (await connection.execute(_OLDEST, {"alive": alive})).scalar_one()
    return version


_KEEP = text("INSERT INTO chat.promises (name) VALUES (:name) ON CONFLICT DO NOTHING")

_KEPT = text("SELECT name FROM chat.promises")


async def keep_promise(connection: AsyncConnection, name: str) -> None:
    """From now on every node keeps it, also those that have yet to start."""
    await connection.execute(_KEEP, {"name": name})


async def list_promises(connection: AsyncConnection) -> set[str]:
    return set((await connection.execute(_KEPT)).scalars())


_CHANGED = text(f"""
    {MEMBERSHIP}
    WHERE member_ids && CAST(:user_ids AS uuid[])
      AND changed_xid >= CAST(CAST(:mark AS text) AS xid8)
""")


async def list_changed(
    connection: AsyncConnection, user_ids: Collection[UUID], mark: int
) -> Sequence[Membership]:
    """The conversations of these users that changed since `mark`; some from before it too."""
    rows = await connection.execute(_CHANGED, {"user_ids": list(user_ids), "mark": str(mark)})
    return [membership_of(row) for row in rows]


_UNREAD = text("""
    SELECT user_id, conversation_id, p.unread_count, t.unread_count AS total, t.version
    FROM unnest(CAST(:user_ids AS uuid[]), CAST(:conversation_ids AS uuid[]))
             AS asked (user_id, conversation_id)
    JOIN chat.participants p USING (user_id, conversation_id)
    JOIN chat.unread_totals t USING (user_id)
    WHERE p.left_at IS NULL
""")


async def list_unread(
    connection: AsyncConnection, asked: Collection[tuple[UUID, UUID]]
) -> Sequence[Unread]:
    """The counters of each of these users in the conversation beside them, as (user, conversation).

    Nothing of those who do not take part.
    """
    rows = await connection.execute(
        _UNREAD,
        {
            "user_ids": [user_id for user_id, _ in asked],
            "conversation_ids": [conversation_id for _, conversation_id in asked],
        },
    )
    return [
        Unread(row.conversation_id, row.user_id, row.unread_count, row.total, row.version)
        for row in rows
    ]
