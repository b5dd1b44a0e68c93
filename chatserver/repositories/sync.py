"""Changes: which of a user's conversations since a mark, which messages since a `rev`.

All of it is to be read in one transaction with SNAPSHOT_OPTIONS, so that the rows
agree with each other and with the mark that is made of the same snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.models import Message, Position
from chatserver.repositories.messages import COLUMNS, RECEIPTS, message_from_row

SNAPSHOT_OPTIONS: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of an engine whose transactions see one snapshot from begin to end."""

MAX_CHANGES: Final = 100
MAX_PENDING: Final = 100
MAX_REMOVED: Final = 500

# An estimate of what a message takes as JSON, in bytes, beside its content; of that
# each byte may need an escape.
_MESSAGE_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Snapshot of a transaction, and the database that it is of.

    `database` is the same for as long as transaction numbers go on in one line: it
    changes with the cluster, the timeline (a restore, a promoted standby), the
    database and the table. Everything below `xmax` that is not `in_progress`
    (ascending) has ended before the snapshot.
    """

    database: str
    is_standby: bool
    xmax: int
    in_progress: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark up to which a user's conversations are known: every change of `newest` and of the
    transactions before it, but for `pending` ones (ascending), which had not ended.

    It rests on `newest`, a change that was seen and therefore is on disk. What the
    snapshot knew beyond that may be lost with a crash, and the numbers of lost
    transactions are given out again.
    """

    newest: int
    pending: tuple[int, ...] = ()

    @classmethod
    def of(cls, newest: int, snapshot: Snapshot) -> "Mark":
        """The mark of a user whose newest change in `snapshot` is `newest`.

        Its size has a limit: with very many pending transactions it is a mark from
        before the first of them, which repeats changes but misses none.
        """
        pending = tuple(xid for xid in snapshot.in_progress if xid < newest)
        if len(pending) > MAX_PENDING:
            return cls(pending[0] - 1)
        return cls(newest, pending)


# Before there is a snapshot. Rows that move into a new partition between the snapshot
# and a statement after it would be found in neither place.
_HOLD_PARTITIONS = text("LOCK TABLE ONLY chat.messages IN ACCESS SHARE MODE")

_SNAPSHOT = text("""
    SELECT
        concat_ws('/',
            control.system_identifier,
            -- The first checkpoint on a new timeline comes a moment after its begin.
            greatest(checkpoint.timeline_id, recovery.min_recovery_end_timeline),
            (SELECT oid FROM pg_database WHERE datname = current_database()),
            to_regclass('chat.conversations')::oid
        ) AS database,
        pg_is_in_recovery() AS is_standby,
        pg_snapshot_xmax(pg_current_snapshot()) AS xmax,
        ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())) AS in_progress,
        -- For the statements that follow: to plan one over all months takes longer
        -- than to run it, and it always comes to the same plan.
        set_config('plan_cache_mode', 'force_generic_plan', true)
    FROM pg_control_system() control, pg_control_checkpoint() checkpoint,
         pg_control_recovery() recovery
""")


async def get_snapshot(connection: AsyncConnection) -> Snapshot:
    """The snapshot of the transaction that `connection` is in, and that begins with it.

    Until its end no message moves into another partition.
    """
    await connection.execute(_HOLD_PARTITIONS)
    row = (await connection.execute(_SNAPSHOT)).one()
    return Snapshot(row.database, row.is_standby, row.xmax, tuple(sorted(row.in_progress)))


@dataclass(frozen=True, slots=True)
class Changed:
    """List the conversations of a user that changed, latest activity first.

    `removed` are those that the user left since `since`, or was taken out of: some
    MAX_REMOVED of them, and one more where there are more. `newest` is the number of the
    last change of any of the user's conversations, 0 where there is none. `has_later` says
    whether some changed since `then`. `unread_version` is that of the user's counters, 0
    before the first message; `total` counts all the user's conversations.
    """

    ids: Sequence[UUID]
    removed: Sequence[UUID]
    newest: int
    has_later: bool
    unread_version: int
    total: int


def _is_new(mark: str) -> str:
    return f"""
        (changed_xid > CAST(:{mark}_newest AS xid8)
         OR changed_xid = ANY (CAST(:{mark}_pending AS xid8[])))
        AND changed_xid < CAST(:xmax AS xid8)
    """


# A stamp from the future came with a dump of another cluster: its row has not
# changed since this database began, and whoever has a mark has been told of it.
_CHANGED = text(f"""
    WITH own AS MATERIALIZED (
        SELECT c.id, c.changed_xid, coalesce(c.last_message_at, c.created_at) AS active_at
        FROM chat.conversations c
        WHERE c.member_ids @> ARRAY[CAST(:user_id AS uuid)]
          AND (c.last_seq > 0 OR c.shown_empty
               OR c.member_roles[array_position(c.member_ids, :user_id)] IN ('C', 'c'))
    ), gone AS MATERIALIZED (
        SELECT conversation_id AS id, left_xid AS changed_xid FROM chat.participants
        WHERE user_id = :user_id AND left_at IS NOT NULL
    ), page AS MATERIALIZED (
        SELECT id, active_at FROM own
        WHERE (CAST(:since_newest AS xid8) IS NULL OR {_is_new("since")})
          AND (CAST(:active_at AS timestamptz) IS NULL
               OR (active_at, id) < (:active_at, CAST(:last_id AS uuid)))
        ORDER BY active_at DESC, id DESC
        LIMIT :limit
    )
    SELECT
        ARRAY(SELECT id FROM page ORDER BY active_at DESC, id DESC) AS ids,
        ARRAY(SELECT id FROM gone WHERE {_is_new("since")} LIMIT :max_removed) AS removed,
        greatest(
            (SELECT changed_xid FROM own WHERE changed_xid < CAST(:xmax AS xid8)
             ORDER BY changed_xid DESC LIMIT 1),
            (SELECT changed_xid FROM gone WHERE changed_xid < CAST(:xmax AS xid8)
             ORDER BY changed_xid DESC LIMIT 1)
        ) AS newest,
        EXISTS (SELECT FROM own WHERE {_is_new("then")})
            OR EXISTS (SELECT FROM gone WHERE {_is_new("then")}) AS has_later,
        (SELECT count(*) FROM own) AS total,
        (SELECT version FROM chat.unread_totals WHERE user_id = :user_id) AS unread_version
""")


async def list_changed(
    connection: AsyncConnection,
    user_id: UUID,
    snapshot: Snapshot,
    *,
    since: Mark | None,
    limit: int,
    after: Position | None = None,
    then: Mark | None = None,
) -> Changed:
    """A page of the user's conversations that changed since `since` (None: of all).

    `after` is where the page before ended. Reads the user's own conversations, by
    index, one row of counters, and no message.
    """
    result = await connection.execute(
        _CHANGED,
        {
            "user_id": user_id,
            "xmax": snapshot.xmax,
            "limit": limit,
            "max_removed": MAX_REMOVED + 1,
            "active_at": after and after.active_at,
            "last_id": after and after.id,
            **_values("since", since),
            **_values("then", then),
        },
    )
    row = result.one()
    return Changed(
        ids=row.ids,
        removed=row.removed,
        newest=row.newest or 0,
        has_later=row.has_later,
        unread_version=row.unread_version or 0,
        total=row.total,
    )


def _values(name: str, mark: Mark | None) -> dict[str, Any]:
    return {
        f"{name}_newest": mark and mark.newest,
        f"{name}_pending": list(mark.pending) if mark else [],
    }


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation of which a client holds everything up to `seq` and `rev`.

    Its messages were created within `lifetime`.
    """

    conversation_id: UUID
    seq: int
    rev: int
    lifetime: tuple[datetime, datetime]


@dataclass(slots=True)
class Changes:
    """The messages that are new or changed, by ascending `seq`.

    `is_limited` when there are more than these, which are the newest then.
    """

    messages: list[Message] = field(default_factory=list)
    is_limited: bool = False


# Edits and deletes of what the client holds are found in their log: to look for
# them among the messages would read all of these. The size is summed up over all
# conversations in the order in which they were asked for.
_CHANGES = text(f"""
    WITH held AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:revs AS bigint[]),
            CAST(:first_times AS timestamptz[]), CAST(:last_times AS timestamptz[])
        ) WITH ORDINALITY AS h (conversation_id, seq, rev, first_at, last_at, ord)
    ), found AS (
        SELECT h.ord, m.*
        FROM held h
        CROSS JOIN LATERAL (
            (
                SELECT m.* FROM chat.messages m
                WHERE m.conversation_id = h.conversation_id AND m.seq > h.seq
                  AND m.created_at BETWEEN h.first_at AND h.last_at
                ORDER BY m.seq DESC
                LIMIT {MAX_CHANGES + 1}
            )
            UNION ALL
            SELECT m.*
            FROM (
                SELECT DISTINCT e.seq FROM chat.message_edits e
                WHERE e.conversation_id = h.conversation_id AND e.rev > h.rev AND e.seq <= h.seq
                ORDER BY e.seq DESC
                LIMIT {MAX_CHANGES + 1}
            ) edited
            JOIN chat.messages m
                ON m.conversation_id = h.conversation_id AND m.seq = edited.seq
                AND m.created_at BETWEEN h.first_at AND h.last_at
        ) m
    ), sized AS (
        SELECT *,
            count(*) OVER (PARTITION BY ord) AS total,
            row_number() OVER (PARTITION BY ord ORDER BY seq DESC) AS place,
            sum({_MESSAGE_BYTES} + 2 * octet_length(content) + coalesce(octet_length(media_url), 0))
                OVER (ORDER BY ord, seq DESC) AS bytes
        FROM found
    )
    SELECT {COLUMNS}, receipt.delivered_at, receipt.read_at,
           m.total, m.bytes <= :max_bytes AS fits
    FROM sized m {RECEIPTS}
    WHERE m.place <= {MAX_CHANGES} AND (m.bytes <= :max_bytes OR m.place = 1)
    ORDER BY m.ord, m.seq
""")


async def list_changes(
    connection: AsyncConnection, held: Sequence[Held], *, max_bytes: int
) -> dict[UUID, Changes]:
    """For each of `held`: the messages with a higher `seq`, and those edited or deleted
    since its `rev`; at most MAX_CHANGES, and for all together about `max_bytes` of JSON.
    """
    result = await connection.execute(
        _CHANGES,
        {
            "ids": [one.conversation_id for one in held],
            "seqs": [one.seq for one in held],
            "revs": [one.rev for one in held],
            "first_times": [one.lifetime[0] for one in held],
            "last_times": [one.lifetime[1] for one in held],
            "max_bytes": max_bytes,
        },
    )
    changes = {one.conversation_id: Changes() for one in held}
    totals: dict[UUID, int] = {}
    for row in result:
        totals[row.conversation_id] = row.total
        if row.fits:
            changes[row.conversation_id].messages.append(message_from_row(row))
    for conversation_id, total in totals.items():
        found = changes[conversation_id]
        found.is_limited = total > len(found.messages)
    return changes
