"""The truth about a database, counted anew from its messages: what counters must equal."""

from sqlalchemy import text

from chatserver.db.engine import Database

# Each query finds rows that break a promise.
FAULTS = {
    "seq has a gap, or last_seq is not the last": """
        SELECT c.id FROM chat.conversations c
        LEFT JOIN chat.messages m ON m.conversation_id = c.id
        GROUP BY c.id
        HAVING count(m.id) <> c.last_seq OR count(DISTINCT m.seq) <> c.last_seq
            OR coalesce(max(m.seq), 0) <> c.last_seq
    """,
    "created_at does not rise with seq": """
        SELECT id FROM (
            SELECT id, created_at, lag(created_at) OVER (
                PARTITION BY conversation_id ORDER BY seq
            ) AS before FROM chat.messages
        ) m WHERE created_at <= before
    """,
    "last_message_at is not the last message's time": """
        SELECT c.id FROM chat.conversations c
        LEFT JOIN chat.messages m ON m.conversation_id = c.id AND m.seq = c.last_seq
        WHERE m.created_at IS DISTINCT FROM c.last_message_at
    """,
    "a message lies outside its conversation's lifetime": """
        SELECT m.id FROM chat.messages m JOIN chat.conversations c ON c.id = m.conversation_id
        WHERE m.created_at NOT BETWEEN c.created_at AND c.last_message_at
    """,
    "two changes have one rev, or rev has a gap": """
        SELECT c.id FROM chat.conversations c
        LEFT JOIN (
            SELECT conversation_id, rev FROM chat.receipts
            UNION SELECT conversation_id, rev FROM chat.message_edits
            UNION SELECT conversation_id, rev FROM chat.conversation_changes
            UNION SELECT m.conversation_id, m.rev FROM chat.messages m
        ) changes ON changes.conversation_id = c.id
        GROUP BY c.id
        HAVING coalesce(max(changes.rev), 0) <> c.rev OR (
            -- What an edit replaced no longer shows the rev that it had.
            count(changes.rev) <> c.rev AND NOT EXISTS (
                SELECT FROM chat.message_edits e WHERE e.conversation_id = c.id
            )
        )
    """,
    "unread_count is not what a recount finds": """
        SELECT p.conversation_id, p.user_id FROM chat.participants p
        WHERE p.unread_count <> (
            SELECT count(*) FROM chat.messages m
            WHERE m.conversation_id = p.conversation_id
              AND m.seq > greatest(p.read_seq, p.joined_seq)
              AND m.sender_user_id <> p.user_id AND NOT m.is_deleted
              AND p.left_at IS NULL AND p.role <> 'observer'
        )
    """,
    "a conversation's list is not of those who are in it": """
        SELECT c.id FROM chat.conversations c
        WHERE (SELECT array_agg((m.user_id, m.letter) ORDER BY m.user_id)
               FROM unnest(c.member_ids, c.member_roles::text[]) AS m (user_id, letter))
            IS DISTINCT FROM (
                SELECT array_agg((p.user_id, CASE p.role
                    WHEN 'client' THEN 'C' WHEN 'owner' THEN 'O' WHEN 'co_client' THEN 'c'
                    WHEN 'agent' THEN 'a' ELSE 'v' END) ORDER BY p.user_id)
                FROM chat.participants p WHERE p.conversation_id = c.id AND p.left_at IS NULL
            )
    """,
    "a participant is not listed by the day of the conversation": """
        SELECT p.user_id FROM chat.participants p
        JOIN chat.conversations c ON c.id = p.conversation_id
        WHERE p.active_on IS DISTINCT FROM
            (coalesce(c.last_message_at, c.created_at) AT TIME ZONE 'UTC')::date
    """,
    "a total is not the sum of its counts": """
        SELECT t.user_id FROM chat.unread_totals t
        WHERE t.unread_count <> coalesce((
            SELECT sum(unread_count) FROM chat.participants p WHERE p.user_id = t.user_id
        ), 0)
    """,
    "cursors are out of order or out of range": """
        SELECT p.user_id FROM chat.participants p
        JOIN chat.conversations c ON c.id = p.conversation_id
        WHERE NOT (0 <= p.read_seq AND p.read_seq <= p.delivered_seq
                   AND p.delivered_seq <= c.last_seq)
    """,
    "a cursor is not where its log ends": """
        SELECT p.user_id FROM chat.participants p
        CROSS JOIN LATERAL (
            SELECT coalesce(max(seq) FILTER (WHERE kind = 'delivered'), 0) AS delivered_seq,
                   coalesce(max(seq) FILTER (WHERE kind = 'read'), 0) AS read_seq
            FROM chat.receipts r
            WHERE r.conversation_id = p.conversation_id AND r.user_id = p.user_id
        ) log
        WHERE (log.delivered_seq, log.read_seq) <> (p.delivered_seq, p.read_seq)
    """,
    "the log of a cursor goes back": """
        SELECT user_id FROM (
            SELECT user_id, rev, lag(rev) OVER (
                PARTITION BY conversation_id, user_id, kind ORDER BY seq
            ) AS before FROM chat.receipts
        ) r WHERE rev <= before
    """,
    "a client_msg_id has no message, or another one": """
        SELECT k.client_msg_id FROM chat.message_keys k
        LEFT JOIN chat.messages m ON m.id = k.message_id AND m.seq = k.seq
            AND m.conversation_id = k.conversation_id AND m.client_msg_id = k.client_msg_id
        WHERE m.id IS NULL
    """,
    "a keyed message has no key": """
        SELECT m.id FROM chat.messages m
        LEFT JOIN chat.message_keys k ON k.message_id = m.id
        WHERE m.client_msg_id IS NOT NULL AND k.message_id IS NULL
    """,
}


async def find_faults(database: Database) -> dict[str, int]:
    """Count the rows that break each promise: empty where all is well."""
    faults = {}
    async with database.transaction() as connection:
        for name, query in FAULTS.items():
            if rows := (await connection.execute(text(query))).all():
                faults[name] = len(rows)
    return faults
