"""Appending messages: a whole batch in one statement, which is one transaction.

What the statement guarantees, also when other nodes run it at the same time:

- `seq` and `rev` of a conversation count on without a gap, and `created_at` rises
  with them, because all three are given while its row is locked. Rows are locked
  in the order of their ids (conversations first, then unread totals), so two
  batches cannot lock each other out.
- The time in a message's id and its `created_at` differ by less than a day: where
  the clocks, or an earlier message of the conversation, would have it otherwise, the
  id gets the time of `created_at`.
- A `client_msg_id` is used once. A key that another node commits while this
  statement waits for the row lock is not seen by the snapshot that looks keys up;
  the primary key of `message_keys` then refuses the whole statement, and the
  caller runs it again (`is_retryable`).
- The counters of unread messages move with the messages.
- Who may send, and who gets a message, is read from the locked row of the conversation:
  whoever adds or removes somebody writes it there, under the same lock. The rows of
  those who were added while this statement waited for the lock it cannot see; then the
  row's `members_xid` is of a transaction after its snapshot, nothing is stored in that
  conversation (`Outcome.STALE`), and the caller appends those messages with
  `append_under_locks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from chatserver.models import MessageType, SenderRole, Unread, Voice
from chatserver.repositories.messages import made_at


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to append; `id` (UUIDv7) is what it gets unless its time is far off.

    `voice` is who writes where the sender takes no part in the conversation; None:
    then they may not. `digest` stands for its body where a key is used again.
    """

    id: UUID
    conversation_id: UUID
    sender_id: UUID
    voice: Voice | None
    message_type: MessageType
    content: str
    media_url: str | None
    reply_to_seq: int | None
    client_msg_id: UUID | None
    digest: bytes


class Outcome(StrEnum):
    """Outcome of an append; all but STORED left nothing behind.

    STALE: who is in the conversation changed meanwhile; `append_under_locks` is to be
    called.
    """

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    NOT_FOUND = "not_found"
    CLOSED = "closed"
    BAD_REPLY = "bad_reply"
    OBSERVER = "observer"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome for one message.

    `message_id` is the first one's for a DUPLICATE, else the message's own; `seq`,
    `rev`, `created_at`, `member_ids` (client and owner first) and `sender_role` mean
    something for a STORED one. `is_news`: with it the owner's side is first told that
    there is the conversation. `unread` holds the counters of those who did not send it,
    once for each conversation of the batch: on its last message.
    """

    outcome: Outcome
    message_id: UUID
    seq: int
    rev: int
    created_at: datetime
    member_ids: tuple[UUID, ...]
    sender_role: SenderRole | None
    is_news: bool
    unread: tuple[Unread, ...]


_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_ROLES: dict[str | None, SenderRole | None] = {None: None, **{r.value: r for r in SenderRole}}

_APPEND = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::bigint[], $9::uuid[], $10::bytea[]
    ) WITH ORDINALITY AS i (
        id, conversation_id, sender_id, voice_role, message_type, content,
        media_url, reply_to_seq, client_msg_id, digest, ord
    )
), locked AS MATERIALIZED (
    SELECT id, client_user_id, owner_user_id, member_ids, member_roles, members_xid,
           -- All but the observers, who come last.
           member_ids[
               :coalesce(array_position(member_roles, 'v') - 1, cardinality(member_ids))
           ] AS counted_ids,
           last_seq, rev, is_active, shown_empty,
           coalesce(last_message_at, created_at) AS active_at
    FROM chat.conversations
    WHERE id = ANY ($2::uuid[])
    ORDER BY id
    FOR NO KEY UPDATE
), clock AS MATERIALIZED (
    -- Read after the locks are held: a later holder of a lock gets a later time.
    SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM locked) AS all_locked
), judged AS MATERIALIZED (
    SELECT
        i.*, l.member_ids, l.counted_ids, l.last_seq, l.rev, l.active_at, l.shown_empty,
        k.message_id AS first_id,
        CASE i.sender_id
            WHEN l.client_user_id THEN 'client'
            WHEN l.owner_user_id THEN 'owner'
            ELSE CASE l.member_roles[array_position(l.member_ids, i.sender_id)]
                WHEN 'a' THEN 'agent'
                WHEN 'c' THEN 'co_client'
                ELSE i.voice_role
            END
        END AS sender_role,
        CASE
            WHEN l.id IS NULL THEN 'not_found'
            WHEN NOT pg_visible_in_snapshot(l.members_xid, pg_current_snapshot())
                 AND chat.is_assigned(l.members_xid) THEN 'stale'
            WHEN i.voice_role IS NULL AND i.sender_id <> ALL (l.counted_ids) THEN
                CASE WHEN i.sender_id = ANY (l.member_ids) THEN 'observer' ELSE 'not_found' END
            WHEN k.digest = i.digest THEN 'duplicate'
            WHEN k.digest IS NOT NULL THEN 'conflict'
            WHEN NOT l.is_active THEN 'closed'
            WHEN i.reply_to_seq NOT BETWEEN 1 AND l.last_seq THEN 'bad_reply'
            ELSE 'stored'
        END AS outcome
    FROM input i
    LEFT JOIN locked l ON l.id = i.conversation_id
    LEFT JOIN LATERAL (
        -- One look into the index for each, whatever the statistics say.
        SELECT message_id, digest FROM chat.message_keys
        WHERE conversation_id = i.conversation_id
          AND sender_user_id = i.sender_id
          AND client_msg_id = i.client_msg_id
        LIMIT 1
    ) AS k ON true
), numbered AS MATERIALIZED (
    SELECT
        s.*,
        s.last_seq + s.n AS new_seq,
        s.rev + s.n AS new_rev,
        t.created_at,
        -- Looked up by its id, a message is searched for around the time in that.
        CASE
            WHEN t.created_at BETWEEN $11::timestamptz - interval '12 hours'
                              AND $11::timestamptz + interval '12 hours' THEN s.id
            ELSE (
                lpad(to_hex((extract(epoch FROM t.created_at) * 1000)::bigint), 12, '0')
                || substr(s.id::text, 14)
            )::uuid
        END AS message_id,
        s.n = max(s.n) OVER (PARTITION BY s.conversation_id) AS is_last
    FROM (
        SELECT
            j.*,
            count(*) FILTER (WHERE outcome = 'stored')
                OVER (PARTITION BY conversation_id ORDER BY ord) AS n
        FROM judged j
    ) AS s
    CROSS JOIN clock
    CROSS JOIN LATERAL (
        SELECT greatest(clock.now, s.active_at + interval '1 microsecond')
            + (s.n - 1) * interval '1 microsecond' AS created_at
    ) AS t
), stored AS (
    INSERT INTO chat.messages (
        id, conversation_id, seq, rev, sender_user_id, sender_role, message_type, content,
        media_url, reply_to_seq, client_msg_id, created_at, updated_at
    )
    SELECT
        message_id, conversation_id, new_seq, new_rev, sender_id, sender_role,
        message_type::chat.message_type, content, media_url, reply_to_seq, client_msg_id,
        created_at, created_at
    FROM numbered
    WHERE outcome = 'stored'
), keyed AS (
    INSERT INTO chat.message_keys (
        conversation_id, sender_user_id, client_msg_id, message_id, seq, digest
    )
    SELECT conversation_id, sender_id, client_msg_id, message_id, new_seq, digest
    FROM numbered
    WHERE outcome = 'stored' AND client_msg_id IS NOT NULL
), moved AS (
    UPDATE chat.conversations AS c
    SET last_seq = n.new_seq, rev = n.new_rev, last_message_at = n.created_at,
        updated_at = n.created_at, changed_xid = pg_current_xact_id(),
        archived_by_client = false, archived_by_owner = false
    FROM numbered n
    WHERE c.id = n.conversation_id AND n.is_last AND n.outcome = 'stored'
), received AS MATERIALIZED (
    SELECT n.conversation_id, m.user_id, count(*) AS n
    FROM numbered n, unnest(n.counted_ids) AS m (user_id)
    WHERE m.user_id <> n.sender_id AND n.outcome = 'stored'
    GROUP BY n.conversation_id, m.user_id
), counted AS (
    UPDATE chat.participants AS p
    SET unread_count = p.unread_count + r.n
    FROM received r
    -- By the conversation's index: the user may have thousands of conversations.
    WHERE p.conversation_id = r.conversation_id AND p.user_id IS NOT DISTINCT FROM r.user_id
    RETURNING p.conversation_id, p.user_id, p.unread_count
), locked_totals AS MATERIALIZED (
    SELECT t.user_id, r.n
    FROM (SELECT user_id, sum(n)::bigint AS n FROM received GROUP BY user_id) AS r
    JOIN chat.unread_totals t ON t.user_id = r.user_id
    ORDER BY t.user_id
    FOR NO KEY UPDATE OF t
), totalled AS (
    UPDATE chat.unread_totals AS t
    SET unread_count = t.unread_count + l.n, version = t.version + 1
    FROM locked_totals l
    WHERE t.user_id = l.user_id
    RETURNING t.user_id, t.unread_count, t.version
)
-- Who has how many unread now is one list for all, on the first row: joined to the
-- messages here, it would be looked through once for each of them.
SELECT
    outcome, coalesce(first_id, nullif(message_id, id)) AS other_id, new_seq, new_rev,
    created_at, sender_role, new_seq = 1 AND NOT shown_empty AS is_news,
    CASE WHEN is_last THEN member_ids END AS member_ids,
    CASE ord WHEN 1 THEN ARRAY(SELECT conversation_id FROM counted) END AS counted_in,
    CASE ord WHEN 1 THEN ARRAY(SELECT user_id FROM counted) END AS counted_of,
    CASE ord WHEN 1 THEN ARRAY(SELECT unread_count FROM counted) END AS counts,
    CASE ord WHEN 1 THEN ARRAY(SELECT user_id FROM totalled) END AS totalled,
    CASE ord WHEN 1 THEN ARRAY(SELECT unread_count FROM totalled) END AS totals,
    CASE ord WHEN 1 THEN ARRAY(SELECT version FROM totalled) END AS versions
FROM numbered
ORDER BY ord
"""


async def append_messages(
    connection: asyncpg.Connection, batch: Sequence[NewMessage]
) -> list[Appended]:
    """Append `batch` in its order, all or nothing, and answer an outcome for each.

    Outside a transaction, so that PostgreSQL commits with the one round trip. No
    two messages of a batch may share a `client_msg_id` and sender in a conversation,
    and their ids are about as old as each other.
    """
    rows = await connection.fetch(
        _APPEND,
        [new.id for new in batch],
        [new.conversation_id for new in batch],
        [new.sender_id for new in batch],
        [new.voice and new.voice.role.value for new in batch],
        [new.message_type.value for new in batch],
        [new.content for new in batch],
        [new.media_url for new in batch],
        [new.reply_to_seq for new in batch],
        [new.client_msg_id for new in batch],
        [new.digest for new in batch],
        made_at(batch[0].id),
    )
    unread = _unread(rows)
    members: dict[UUID, tuple[UUID, ...]] = {}
    appended = []
    # From the last of each conversation, which its counters and members are on.
    for new, row in zip(reversed(batch), reversed(rows), strict=True):
        outcome = _OUTCOMES[row["outcome"]]
        is_stored = outcome is Outcome.STORED
        other_id = row["other_id"]
        if (member_ids := row["member_ids"]) is not None:
            members[new.conversation_id] = tuple(member_ids)
        appended.append(
            Appended(
                outcome=outcome,
                # orjson encodes UUIDs, but not asyncpg's subclass of them.
                message_id=new.id if other_id is None else UUID(int=other_id.int),
                seq=row["new_seq"],
                rev=row["new_rev"],
                created_at=row["created_at"],
                member_ids=members.get(new.conversation_id, ()),
                sender_role=_ROLES[row["sender_role"]],
                is_news=is_stored and row["is_news"],
                unread=tuple(unread.pop(new.conversation_id, ())) if is_stored else (),
            )
        )
    appended.reverse()
    return appended


_LOCK = """
SELECT FROM chat.conversations WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""


async def append_under_locks(
    connection: asyncpg.Connection, batch: Sequence[NewMessage]
) -> list[Appended]:
    """Like `append_messages`, with two round trips more, and never STALE.

    The statement's snapshot is taken when the locks are held: nobody comes or goes after it.
    """
    async with connection.transaction():
        await connection.execute(_LOCK, [new.conversation_id for new in batch])
        return await append_messages(connection, batch)


def _unread(rows: Sequence[asyncpg.Record]) -> dict[UUID, list[Unread]]:
    """The counters that a batch changed, by conversation."""
    if not rows:
        return {}
    first = rows[0]
    totals = dict(
        zip(first["totalled"], zip(first["totals"], first["versions"], strict=True), strict=True)
    )
    unread: dict[UUID, list[Unread]] = {}
    for conversation_id, user_id, count in zip(
        first["counted_in"], first["counted_of"], first["counts"], strict=True
    ):
        total, version = totals[user_id]
        unread.setdefault(conversation_id, []).append(
            Unread(conversation_id, user_id, count, total, version)
        )
    return unread


def is_retryable(error: BaseException) -> bool:
    """Return whether a failed append left nothing behind and may succeed when run again."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return error.table_name == "message_keys"
    return isinstance(error, asyncpg.TransactionRollbackError)
