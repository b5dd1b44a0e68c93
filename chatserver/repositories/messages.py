"""Reading, editing and deleting stored messages. Appending them: see `appends`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.models import Message, MessageStatus, MessageType, SenderRole
from chatserver.repositories.sides import side_of

# When the first of the other side, those who left included, said that they hold it, and
# that they read it: of the log of cursor moves, the first that reached its number. One who
# takes no part writes to both sides.
RECEIPTS = f"""
    CROSS JOIN LATERAL (
        SELECT min(d.at) AS delivered_at, min(r.at) AS read_at
        FROM chat.participants p
        LEFT JOIN LATERAL (
            SELECT at FROM chat.receipts
            WHERE conversation_id = p.conversation_id AND user_id = p.user_id
              AND kind = 'delivered' AND seq >= m.seq
            ORDER BY seq LIMIT 1
        ) d ON true
        LEFT JOIN LATERAL (
            SELECT at FROM chat.receipts
            WHERE conversation_id = p.conversation_id AND user_id = p.user_id
              AND kind = 'read' AND seq >= m.seq
            ORDER BY seq LIMIT 1
        ) r ON true
        WHERE p.conversation_id = m.conversation_id AND p.user_id <> m.sender_user_id
          AND {side_of("p")} IS DISTINCT FROM CASE
              WHEN m.sender_role IN ('client', 'co_client') THEN 'client'
              WHEN m.sender_role IN ('owner', 'agent') THEN 'owner'
          END
          AND {side_of("p")} IS NOT NULL
    ) receipt
"""

# A node of the version before stores no role: it follows from the conversation's columns.
COLUMNS = """
    m.id, m.conversation_id, m.seq, m.rev, m.sender_user_id, m.message_type, m.content,
    m.media_url, m.reply_to_seq, m.client_msg_id, m.created_at, m.updated_at,
    m.edited_at, m.is_deleted,
    coalesce(m.sender_role, (
        SELECT CASE m.sender_user_id
            WHEN client_user_id THEN 'client' WHEN owner_user_id THEN 'owner' ELSE 'service'
        END
        FROM chat.conversations WHERE id = m.conversation_id
    )) AS sender_role
"""

# The time in a message's id and its created_at differ by less than this (`appends` sees
# to it), so a search by id looks at two partitions at most.
_CLOCK_SKEW = timedelta(days=1)
_FIRST_TIME = datetime.fromisoformat("0001-01-03T00:00:00Z")
_LAST_TIME = datetime.fromisoformat("9999-12-29T00:00:00Z")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def message_from_row(row: Row[Any]) -> Message:
    """A message from a row of COLUMNS and, of RECEIPTS, `delivered_at` and `read_at`.

    Without its `sender`, who is the host's.
    """
    if row.read_at is not None:
        status = MessageStatus.READ
    elif row.delivered_at is not None:
        status = MessageStatus.DELIVERED
    else:
        status = MessageStatus.SENT
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        seq=row.seq,
        rev=row.rev,
        sender_id=row.sender_user_id,
        sender_role=SenderRole(row.sender_role),
        message_type=MessageType(row.message_type),
        content=row.content,
        media_url=row.media_url,
        status=status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        delivered_at=row.delivered_at,
        read_at=row.read_at,
        edited_at=row.edited_at,
        is_deleted=row.is_deleted,
        client_msg_id=row.client_msg_id,
        reply_to_seq=row.reply_to_seq,
    )


def made_at(message_id: UUID) -> datetime:
    """The time in a UUIDv7; any UUID is fine."""
    milliseconds = message_id.int >> 80
    try:
        made = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        made = _LAST_TIME
    return min(max(made, _FIRST_TIME), _LAST_TIME)


def time_bounds(message_id: UUID) -> tuple[datetime, datetime]:
    """Between which times a message with this UUIDv7 was created; any UUID is fine."""
    made = made_at(message_id)
    return made - _CLOCK_SKEW, made + _CLOCK_SKEW


_GET = text(f"""
    SELECT {COLUMNS}, receipt.delivered_at, receipt.read_at
    FROM chat.messages m {RECEIPTS}
    WHERE m.id = :id AND m.created_at BETWEEN :earliest AND :latest
""")


async def get_message(connection: AsyncConnection, message_id: UUID) -> Message | None:
    earliest, latest = time_bounds(message_id)
    result = await connection.execute(
        _GET, {"id": message_id, "earliest": earliest, "latest": latest}
    )
    row = result.one_or_none()
    return None if row is None else message_from_row(row)


_PAGE = """
    SELECT {columns}, receipt.delivered_at, receipt.read_at
    FROM (
        SELECT * FROM chat.messages
        WHERE conversation_id = :conversation_id
          AND created_at >= :first_at AND created_at <= :last_at
          {condition}
        ORDER BY seq {direction}
        LIMIT :limit OFFSET :skip
    ) m {receipts}
    ORDER BY m.seq {direction}
"""


def _page(condition: str, direction: str) -> Any:
    return text(
        _PAGE.format(columns=COLUMNS, receipts=RECEIPTS, condition=condition, direction=direction)
    )


_NEWEST = _page("", "DESC")
_BEFORE_SEQ = _page("AND seq < :seq", "DESC")
_BEFORE_TIME = _page("AND created_at < :before", "DESC")
_AFTER_SEQ = _page("AND seq > :seq", "ASC")


async def list_messages(
    connection: AsyncConnection,
    conversation_id: UUID,
    lifetime: tuple[datetime, datetime],
    *,
    limit: int,
    skip: int = 0,
    before: datetime | None = None,
    before_seq: int | None = None,
    after_seq: int | None = None,
) -> Sequence[Message]:
    """A page of history, newest first, or oldest first with `after_seq`.

    `lifetime` is when the conversation's first and last message may have been
    created: only the partitions between these are looked at.
    """
    values: dict[str, Any] = {
        "conversation_id": conversation_id,
        "first_at": lifetime[0],
        "last_at": lifetime[1],
        "limit": limit,
        "skip": skip,
    }
    query = _NEWEST
    if before is not None:
        query, values["before"] = _BEFORE_TIME, before
    elif before_seq is not None:
        query, values["seq"] = _BEFORE_SEQ, before_seq
    elif after_seq is not None:
        query, values["seq"] = _AFTER_SEQ, after_seq
    result = await connection.execute(query, values)
    return [message_from_row(row) for row in result]


_LAST = text(f"""
    SELECT {COLUMNS}, receipt.delivered_at, receipt.read_at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:times AS timestamptz[]))
        AS head (conversation_id, seq, created_at)
    JOIN chat.messages m
        ON m.conversation_id = head.conversation_id AND m.seq = head.seq
        AND m.created_at = head.created_at
    {RECEIPTS}
""")


async def list_last_messages(
    connection: AsyncConnection, heads: Sequence[tuple[UUID, int, datetime]]
) -> dict[UUID, Message]:
    """The last message of each conversation, given its `last_seq` and `last_message_at`."""
    ids, seqs, times = zip(*heads, strict=True)
    result = await connection.execute(
        _LAST, {"ids": list(ids), "seqs": list(seqs), "times": list(times)}
    )
    return {row.conversation_id: message_from_row(row) for row in result}


_REPLACE = text("""
    WITH replaced AS (
        INSERT INTO chat.message_edits (
            conversation_id, rev, message_id, seq, is_delete, content, media_url, replaced_at
        )
        SELECT conversation_id, :rev, id, seq, :is_delete, content, media_url, :at
        FROM chat.messages
        WHERE id = :id AND created_at = :created_at
    )
    UPDATE chat.messages
    SET content = :content, rev = :rev, updated_at = :at,
        edited_at = CASE WHEN :is_delete THEN edited_at ELSE :at END,
        media_url = CASE WHEN :is_delete THEN NULL ELSE media_url END,
        is_deleted = :is_delete,
        deleted_at = CASE WHEN :is_delete THEN CAST(:at AS timestamptz) END
    WHERE id = :id AND created_at = :created_at
""")


async def replace_content(
    connection: AsyncConnection,
    message: Message,
    *,
    content: str,
    rev: int,
    at: datetime,
    is_delete: bool = False,
) -> None:
    """Give `message` new content, or make it a tombstone, and keep what it replaced.

    The caller holds the lock of the conversation.
    """
    await connection.execute(
        _REPLACE,
        {
            "id": message.id,
            "created_at": message.created_at,
            "content": content,
            "rev": rev,
            "at": at,
            "is_delete": is_delete,
        },
    )
