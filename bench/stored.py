"""Fills the product's database with millions of messages, in its own schema, by SQL alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

PER_CONVERSATION = 50
MONTHS = 11
LANDLORD = UUID("00000000-0000-0000-0000-000000000001")

PARTITIONS = """
    DO $$
    DECLARE first date;
    BEGIN
        FOR month IN 1..12 LOOP
            first := date_trunc('month', now()) - make_interval(months => month);
            EXECUTE format(
                'CREATE TABLE chat.%I PARTITION OF chat.messages FOR VALUES FROM (%L) TO (%L)',
                'messages_' || to_char(first, 'YYYY_MM'), first, first + interval '1 month'
            );
        END LOOP;
    END $$
"""

# Conversation i is the landlord's when i is a multiple of `every`; each has a client
# of its own. Message n of all conversations comes before message n + 1 of any.
FILL = (
    """
    CREATE TABLE numbered AS
    SELECT i, gen_random_uuid() AS client_id,
           CASE WHEN i % :every = 0 THEN CAST(:landlord AS uuid)
                ELSE CAST(lpad(to_hex(1000 + i % 5000), 32, '0') AS uuid) END AS owner_id,
           CAST(lpad(to_hex(i), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0') || '8'
                || substr(md5(i::text), 1, 15) AS uuid) AS id
    FROM generate_series(0, CAST(:conversations AS bigint) - 1) i
    """,
    """
    INSERT INTO core.users (id, first_name)
    SELECT client_id, 'Client' FROM numbered UNION SELECT owner_id, 'Owner' FROM numbered
    """,
    """
    INSERT INTO core.listings (id, owner_user_id, title, price, currency)
    SELECT id, owner_id, 'A flat', 700, 'EUR' FROM numbered
    """,
    """
    INSERT INTO chat.conversations (
        id, listing_id, client_user_id, owner_user_id, created_at, last_message_at, last_seq, rev
    )
    SELECT id, id, client_id, owner_id, CAST(:start AS timestamptz) - interval '1 day',
           CAST(:start AS timestamptz) + CAST(:step AS interval) * (:per - 1) + i * interval '1 ms',
           :per, :per
    FROM numbered ORDER BY i
    """,
    """
    INSERT INTO chat.participants (conversation_id, user_id, role)
    SELECT n.id, v.user_id, v.role
    FROM numbered n, LATERAL (VALUES (client_id, 'client'), (owner_id, 'owner')) v (user_id, role)
    ORDER BY n.i
    """,
    "INSERT INTO chat.unread_totals (user_id) SELECT id FROM core.users",
    """
    INSERT INTO chat.messages (
        id, conversation_id, seq, rev, sender_user_id, sender_role, content, created_at,
        updated_at
    )
    SELECT CAST(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '7' || lpad(to_hex(n.i % 4096), 3, '0')
                || '8' || substr(md5(n.i::text || ' ' || m), 1, 15) AS uuid),
           n.id, m, m, CASE m % 2 WHEN 0 THEN n.client_id ELSE n.owner_id END,
           CASE m % 2 WHEN 0 THEN 'client' ELSE 'owner' END,
           repeat('Is the flat still free? ', 1 + (n.i % 6)::integer), at, at
    FROM generate_series(1, :per) m
    CROSS JOIN numbered n
    CROSS JOIN LATERAL (
        SELECT CAST(:start AS timestamptz) + CAST(:step AS interval) * (m - 1)
               + n.i * interval '1 ms' AS at
    ) t
    ORDER BY m, n.i
    """,
    # As if every client had sent a key.
    """
    INSERT INTO chat.message_keys (
        conversation_id, sender_user_id, client_msg_id, message_id, seq, digest
    )
    SELECT conversation_id, sender_user_id, id, id, seq, decode(md5(id::text), 'hex')
    FROM chat.messages
    """,
    "DROP TABLE numbered",
)

# What a send or a receipt does to a conversation's row: of a user, with a salt that
# decides which, so many.
CHANGE = """
    UPDATE chat.conversations SET rev = rev + 1, changed_xid = pg_current_xact_id()
    WHERE id IN (
        SELECT conversation_id FROM chat.participants WHERE user_id = $1
        ORDER BY md5(conversation_id::text || $2) LIMIT $3
    )
"""


async def fill(engine: AsyncEngine, messages: int, conversations: int) -> None:
    """Make `messages` messages over the last year, and `conversations` for the landlord."""
    count = max(messages // PER_CONVERSATION, conversations)
    values = {
        "landlord": LANDLORD,
        "conversations": count,
        "every": count // conversations,
        "per": PER_CONVERSATION,
        "start": datetime.now(UTC) - timedelta(days=MONTHS * 30),
        "step": timedelta(days=MONTHS * 30) / PER_CONVERSATION,
    }
    async with engine.begin() as connection:
        await connection.execute(text(PARTITIONS))
        # The rows fit each other by construction; checking each would take longer.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in FILL:
            wanted = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(text(statement), wanted)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("VACUUM (ANALYZE)"))
