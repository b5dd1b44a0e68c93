"""Who is in the conversations that there are, and indexes by member and by day."""

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Those that were opened since the revision before have their list and their day already. Few
# at a time, and locked in the order in which sends lock them: one that waits for a
# batch waits for some milliseconds.
BATCH = 200

FILL = text("""
    WITH batch AS MATERIALIZED (
        SELECT id, client_user_id, owner_user_id, created_at,
               (coalesce(last_message_at, created_at) AT TIME ZONE 'UTC')::date AS active_on
        FROM chat.conversations
        WHERE member_ids IS NULL AND (CAST(:last AS uuid) IS NULL OR id > :last)
        ORDER BY id
        LIMIT :limit
        FOR NO KEY UPDATE
    ), listed AS (
        UPDATE chat.conversations c
        SET member_ids = ARRAY[b.client_user_id, b.owner_user_id],
            member_roles = ARRAY['C', 'O']::"char"[]
        FROM batch b
        WHERE c.id = b.id
    ), dated AS (
        UPDATE chat.participants p SET active_on = b.active_on, joined_at = b.created_at
        FROM batch b
        WHERE p.conversation_id = b.id
    )
    SELECT id FROM batch ORDER BY id DESC LIMIT 1
""")

INDEXES = {
    "idx_conversations_members": "chat.conversations USING gin (member_ids)",
    "idx_participants_active": "chat.participants (user_id, active_on DESC)",
    "idx_participants_left": "chat.participants (user_id, left_xid) WHERE left_at IS NOT NULL",
}


def upgrade() -> None:
    """Each batch is its own transaction; after a failure it all begins again, with less to do."""
    bind = op.get_bind()
    with op.get_context().autocommit_block():
        last = None
        while found := bind.execute(FILL, {"last": last, "limit": BATCH}).scalar():
            last = found
        op.execute("ALTER TABLE chat.participants VALIDATE CONSTRAINT participants_role_check")
        # Nobody waits for these, so they may wait for whoever has an old snapshot.
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS chat.{name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS chat.idx_participants_user")
        op.execute("SET lock_timeout = '2s'")


def downgrade() -> None:
    """The lists go with the revision before."""
    for name in INDEXES:
        op.execute(f"DROP INDEX chat.{name}")
    op.execute("CREATE INDEX idx_participants_user ON chat.participants (user_id)")
