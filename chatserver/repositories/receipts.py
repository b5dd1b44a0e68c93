"""The delivered and read cursors of participants, and the log of their moves.

A cursor only ever rises. Moves are made in batches, each in one transaction:
`lock_cursors` first, then `move_cursors` with what is really new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Owner = tuple[UUID, UUID]
"""A conversation's id and a participant's."""


@dataclass(frozen=True, slots=True)
class Cursors:
    """Cursors of a member in a conversation whose row is locked.

    `is_counted`: not an observer, whose cursors stand still.
    """

    conversation_id: UUID
    user_id: UUID
    delivered_seq: int
    read_seq: int
    unread_count: int
    last_seq: int
    rev: int
    member_ids: tuple[UUID, ...]
    is_counted: bool


@dataclass(frozen=True, slots=True)
class Move:
    """New cursors of a participant, and the `rev` that the move of each gets.

    Where reading takes delivered along, that is one change, with one number.
    """

    conversation_id: UUID
    user_id: UUID
    delivered_seq: int
    read_seq: int
    delivered_rev: int
    read_rev: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that was made, and which messages the cursors are at now, if any.

    `total_unread_count` and `unread_version` are set where `unread_count` has changed.
    """

    conversation_id: UUID
    user_id: UUID
    at: datetime
    delivered_id: UUID | None
    read_id: UUID | None
    unread_count: int
    total_unread_count: int | None
    unread_version: int | None


# Both rows are locked: of a row that is only joined, PostgreSQL would go on with
# the version that it saw before it waited for the lock.
_LOCK = text("""
    SELECT c.id AS conversation_id, p.user_id, p.delivered_seq, p.read_seq, p.unread_count,
           c.last_seq, c.rev, c.member_ids, p.role <> 'observer' AS is_counted
    FROM chat.conversations c
    JOIN chat.participants p ON p.conversation_id = c.id
    JOIN unnest(CAST(:conversation_ids AS uuid[]), CAST(:user_ids AS uuid[]))
        AS wanted (conversation_id, user_id)
        ON wanted.conversation_id = p.conversation_id AND wanted.user_id = p.user_id
    WHERE c.id = ANY (:conversation_ids) AND p.left_at IS NULL
    ORDER BY c.id, p.user_id
    FOR NO KEY UPDATE OF c, p
""")


async def lock_cursors(
    connection: AsyncConnection, owners: Sequence[Owner]
) -> dict[Owner, Cursors]:
    """Lock the conversations, in the order of their ids, and read the cursors of `owners`.

    Who is no participant, or what does not exist, is simply not in the answer.
    """
    conversation_ids, user_ids = zip(*owners, strict=True)
    rows = await connection.execute(
        _LOCK, {"conversation_ids": list(conversation_ids), "user_ids": list(user_ids)}
    )
    return {
        (row.conversation_id, row.user_id): Cursors(
            conversation_id=row.conversation_id,
            user_id=row.user_id,
            delivered_seq=row.delivered_seq,
            read_seq=row.read_seq,
            unread_count=row.unread_count,
            last_seq=row.last_seq,
            rev=row.rev,
            member_ids=tuple(row.member_ids),
            is_counted=row.is_counted,
        )
        for row in rows
    }


# A participant's unread messages are counted anew from the cursor on: what was
# sent or deleted meanwhile is then right by itself.
_MOVE = text("""
    WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), input AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:conversation_ids AS uuid[]), CAST(:user_ids AS uuid[]),
            CAST(:delivered_seqs AS bigint[]), CAST(:read_seqs AS bigint[]),
            CAST(:delivered_revs AS bigint[]), CAST(:read_revs AS bigint[])
        ) AS i (conversation_id, user_id, delivered_seq, read_seq, delivered_rev, read_rev)
    ), wanted AS MATERIALIZED (
        SELECT i.*, p.delivered_seq AS old_delivered_seq, p.read_seq AS old_read_seq,
               p.unread_count AS old_unread_count,
               CASE
                   WHEN i.read_seq = p.read_seq THEN p.unread_count
                   WHEN i.read_seq = c.last_seq THEN 0
                   ELSE (
                       SELECT count(*) FROM chat.messages m
                       WHERE m.conversation_id = i.conversation_id
                         AND m.seq > greatest(i.read_seq, p.joined_seq)
                         AND m.created_at BETWEEN c.created_at AND c.last_message_at
                         AND m.sender_user_id <> i.user_id AND NOT m.is_deleted
                   )
               END AS unread_count,
               (
                   SELECT m.id FROM chat.messages m
                   WHERE m.conversation_id = i.conversation_id AND m.seq = i.delivered_seq
                     AND m.created_at BETWEEN c.created_at AND c.last_message_at
               ) AS delivered_id,
               (
                   SELECT m.id FROM chat.messages m
                   WHERE m.conversation_id = i.conversation_id AND m.seq = i.read_seq
                     AND m.created_at BETWEEN c.created_at AND c.last_message_at
               ) AS read_id
        FROM input i
        JOIN chat.participants p USING (conversation_id, user_id)
        JOIN chat.conversations c ON c.id = i.conversation_id
    ), moved AS (
        UPDATE chat.participants p
        SET delivered_seq = w.delivered_seq, read_seq = w.read_seq,
            unread_count = w.unread_count
        FROM wanted w
        WHERE p.conversation_id = w.conversation_id AND p.user_id = w.user_id
    ), logged AS (
        INSERT INTO chat.receipts (conversation_id, user_id, kind, seq, rev, at)
        SELECT conversation_id, user_id, 'delivered'::chat.message_status, delivered_seq,
               delivered_rev, now
        FROM wanted, clock WHERE delivered_seq > old_delivered_seq
        UNION ALL
        SELECT conversation_id, user_id, 'read'::chat.message_status, read_seq, read_rev, now
        FROM wanted, clock WHERE read_seq > old_read_seq
    ), touched AS (
        UPDATE chat.conversations c
        SET rev = w.rev, updated_at = clock.now, changed_xid = pg_current_xact_id()
        FROM (SELECT conversation_id, max(read_rev) AS rev FROM wanted GROUP BY 1) w, clock
        WHERE c.id = w.conversation_id
    ), changes AS MATERIALIZED (
        SELECT user_id, sum(unread_count - old_unread_count)::bigint AS change
        FROM wanted WHERE unread_count <> old_unread_count GROUP BY user_id
    ), locked_totals AS MATERIALIZED (
        SELECT user_id FROM chat.unread_totals
        WHERE user_id IN (SELECT user_id FROM changes)
        ORDER BY user_id
        FOR NO KEY UPDATE
    ), totalled AS (
        UPDATE chat.unread_totals t
        SET unread_count = t.unread_count + c.change, version = t.version + 1
        FROM locked_totals l JOIN changes c USING (user_id)
        WHERE t.user_id = l.user_id
        RETURNING t.user_id, t.unread_count, t.version
    )
    SELECT w.conversation_id, w.user_id, clock.now AS at, w.delivered_id, w.read_id,
           w.unread_count, t.unread_count AS total_unread_count, t.version AS unread_version
    FROM wanted w
    CROSS JOIN clock
    LEFT JOIN totalled t ON t.user_id = w.user_id AND w.unread_count <> w.old_unread_count
""")


async def move_cursors(connection: AsyncConnection, moves: Sequence[Move]) -> dict[Owner, Moved]:
    """Make moves that each raise a cursor, at most one for each owner, and log them.

    The conversations are locked, `read_seq <= delivered_seq <= last_seq`,
    `delivered_rev <= read_rev`, and the `rev`s of a conversation count on from its own.
    """
    rows = await connection.execute(
        _MOVE,
        {
            "conversation_ids": [move.conversation_id for move in moves],
            "user_ids": [move.user_id for move in moves],
            "delivered_seqs": [move.delivered_seq for move in moves],
            "read_seqs": [move.read_seq for move in moves],
            "delivered_revs": [move.delivered_rev for move in moves],
            "read_revs": [move.read_rev for move in moves],
        },
    )
    return {(row.conversation_id, row.user_id): Moved(*row) for row in rows}


_UNREAD = text("SELECT unread_count FROM chat.unread_totals WHERE user_id = :user_id")


async def get_unread_total(connection: AsyncConnection, user_id: UUID) -> int:
    """Return how many messages the user has not read, over all their conversations."""
    return (await connection.execute(_UNREAD, {"user_id": user_id})).scalar_one_or_none() or 0


# Oddly shaped because the counters of those who had not read it move together.
_FORGET = text("""
    WITH less AS (
        UPDATE chat.participants
        SET unread_count = unread_count - 1
        WHERE conversation_id = :conversation_id AND user_id <> :sender_id
          AND greatest(read_seq, joined_seq) < :seq AND left_at IS NULL AND role <> 'observer'
        RETURNING user_id, unread_count
    ), locked_totals AS MATERIALIZED (
        SELECT user_id FROM chat.unread_totals
        WHERE user_id IN (SELECT user_id FROM less)
        ORDER BY user_id
        FOR NO KEY UPDATE
    ), totalled AS (
        UPDATE chat.unread_totals t
        SET unread_count = t.unread_count - 1, version = t.version + 1
        FROM locked_totals l
        WHERE t.user_id = l.user_id
        RETURNING t.user_id, t.unread_count, t.version
    )
    SELECT less.user_id, less.unread_count, totalled.unread_count, totalled.version
    FROM less JOIN totalled USING (user_id)
""")


async def forget_unread(
    connection: AsyncConnection, conversation_id: UUID, *, sender_id: UUID, seq: int
) -> list[tuple[UUID, int, int, int]]:
    """A message is deleted: whoever had not read it has one less to read.

    Answers each one's id, unread count, total and the version of these. The conversation is locked.
    """
    rows = await connection.execute(
        _FORGET, {"conversation_id": conversation_id, "sender_id": sender_id, "seq": seq}
    )
    return [tuple(row) for row in rows]
