"""Rows that an append needs and somebody else holds: the host's own SQL may lock any of them."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from chatserver.repositories.appends import NewMessage

_LOCKED = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS i (id, conversation_id, sender_id)
), needed AS MATERIALIZED (
    SELECT i.id, p.conversation_id, p.user_id, counted.is_so AS is_counted
    FROM input i
    JOIN chat.conversations c ON c.id = i.conversation_id
    JOIN chat.participants p ON p.conversation_id = i.conversation_id
    CROSS JOIN LATERAL (
        SELECT p.user_id <> i.sender_id AND p.left_at IS NULL AND p.role <> 'observer' AS is_so
    ) AS counted
    -- The first message of a day writes that into the rows of all: see `active_on`.
    WHERE counted.is_so
       OR (coalesce(c.last_message_at, c.created_at) AT TIME ZONE 'UTC')::date
           <> (clock_timestamp() AT TIME ZONE 'UTC')::date
), free_conversations AS MATERIALIZED (
    SELECT id FROM chat.conversations WHERE id = ANY ($2::uuid[])
    FOR NO KEY UPDATE SKIP LOCKED
), free_counters AS MATERIALIZED (
    SELECT conversation_id, user_id FROM chat.participants WHERE conversation_id = ANY ($2::uuid[])
    FOR NO KEY UPDATE SKIP LOCKED
), free_totals AS MATERIALIZED (
    SELECT user_id FROM chat.unread_totals
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM needed WHERE is_counted))
    FOR NO KEY UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT id FROM needed
    WHERE (conversation_id, user_id) NOT IN (SELECT conversation_id, user_id FROM free_counters)
       OR is_counted AND user_id NOT IN (SELECT user_id FROM free_totals)
)
SELECT i.id
FROM input i
JOIN chat.conversations c ON c.id = i.conversation_id
WHERE c.id NOT IN (SELECT id FROM free_conversations) OR i.id IN (SELECT id FROM held)
"""


async def list_locked(connection: asyncpg.Connection, batch: Sequence[NewMessage]) -> set[UUID]:
    """List those of `batch`, by id, for which somebody else holds a row locked just now: the
    conversation, the unread counter or total of one who would get the message, or, where it
    is the first of a day, the row of any participant.
    """
    rows = await connection.fetch(
        _LOCKED,
        [new.id for new in batch],
        [new.conversation_id for new in batch],
        [new.sender_id for new in batch],
    )
    return {row["id"] for row in rows}
