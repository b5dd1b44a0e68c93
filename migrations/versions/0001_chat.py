"""The chat schema, beside the host's core.users and core.listings.

Where the host has no such tables, minimal ones are made and marked with a
comment, so that the downgrade takes away no table that it did not make.
"""

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OURS = "Made by chatserver: the host application had no such table."

HOST_TABLES = {
    "users": """
        CREATE TABLE core.users (
            id                  uuid PRIMARY KEY,
            email               text UNIQUE,
            first_name          text,
            last_name           text,
            profile_picture_url text
        )
    """,
    "listings": """
        CREATE TABLE core.listings (
            id            uuid PRIMARY KEY,
            owner_user_id uuid NOT NULL REFERENCES core.users (id),
            title         text,
            price         numeric,
            currency      text
        )
    """,
}

# Columns that the server cannot do without; all others may be missing.
REQUIRED = {("users", "id"), ("listings", "id"), ("listings", "owner_user_id")}

# Columns that the seed's view shows, as NULL where the host has none.
SHOWN = {
    "listings": {"title": "text", "price": "numeric", "currency": "text"},
    "users": {"first_name": "text", "last_name": "text", "profile_picture_url": "text"},
}

TYPES = """
CREATE TYPE chat.message_type AS ENUM ('text', 'image', 'document', 'system');
CREATE TYPE chat.message_status AS ENUM ('sent', 'delivered', 'read');
"""

# Every send updates the rows of conversations, participants and unread_totals.
# No index covers a column that a send changes, and half of each page is kept
# free, so that all of these updates are HOT: they touch no index.
TABLES = """
CREATE TABLE chat.conversations (
    id                 uuid PRIMARY KEY,
    listing_id         uuid REFERENCES core.listings (id) ON DELETE SET NULL,
    client_user_id     uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    owner_user_id      uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    listing_title      text,
    listing_price      numeric,
    listing_currency   text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    last_message_at    timestamptz,
    is_active          boolean NOT NULL DEFAULT true,
    archived_by_client boolean NOT NULL DEFAULT false,
    archived_by_owner  boolean NOT NULL DEFAULT false,
    last_seq           bigint NOT NULL DEFAULT 0,
    rev                bigint NOT NULL DEFAULT 0,
    changed_xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT unique_conversation_per_listing
        UNIQUE (listing_id, client_user_id, owner_user_id),
    CONSTRAINT different_users CHECK (client_user_id <> owner_user_id)
) WITH (fillfactor = 50);
CREATE INDEX idx_conversations_client ON chat.conversations (client_user_id);
CREATE INDEX idx_conversations_owner ON chat.conversations (owner_user_id);

CREATE TABLE chat.participants (
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    user_id         uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    role            text NOT NULL CHECK (role IN ('client', 'owner')),
    delivered_seq   bigint NOT NULL DEFAULT 0,
    read_seq        bigint NOT NULL DEFAULT 0,
    unread_count    bigint NOT NULL DEFAULT 0 CHECK (unread_count >= 0),
    PRIMARY KEY (conversation_id, user_id),
    CONSTRAINT read_is_delivered CHECK (0 <= read_seq AND read_seq <= delivered_seq)
) WITH (fillfactor = 50);
CREATE INDEX idx_participants_user ON chat.participants (user_id);

CREATE TABLE chat.unread_totals (
    user_id      uuid PRIMARY KEY REFERENCES core.users (id) ON DELETE CASCADE,
    unread_count bigint NOT NULL DEFAULT 0 CHECK (unread_count >= 0),
    version      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE chat.messages (
    id              uuid NOT NULL,
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    seq             bigint NOT NULL CHECK (seq > 0),
    rev             bigint NOT NULL,
    sender_user_id  uuid NOT NULL,
    message_type    chat.message_type NOT NULL DEFAULT 'text',
    content         text NOT NULL,
    media_url       text,
    reply_to_seq    bigint,
    client_msg_id   uuid,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    edited_at       timestamptz,
    is_deleted      boolean NOT NULL DEFAULT false,
    deleted_at      timestamptz,
    PRIMARY KEY (id, created_at),
    CONSTRAINT content_not_empty
        CHECK (message_type <> 'text' OR is_deleted OR length(trim(content)) > 0)
) PARTITION BY RANGE (created_at);
CREATE INDEX idx_messages_conversation ON chat.messages (conversation_id, seq);
CREATE TABLE chat.messages_default PARTITION OF chat.messages DEFAULT;

CREATE TABLE chat.message_keys (
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    sender_user_id  uuid NOT NULL,
    client_msg_id   uuid NOT NULL,
    message_id      uuid NOT NULL,
    seq             bigint NOT NULL,
    digest          bytea NOT NULL,
    PRIMARY KEY (conversation_id, sender_user_id, client_msg_id)
);

CREATE TABLE chat.receipts (
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    user_id         uuid NOT NULL,
    kind            chat.message_status NOT NULL CHECK (kind <> 'sent'),
    seq             bigint NOT NULL,
    rev             bigint NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, user_id, kind, seq)
);

CREATE TABLE chat.message_edits (
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    rev             bigint NOT NULL,
    message_id      uuid NOT NULL,
    seq             bigint NOT NULL,
    is_delete       boolean NOT NULL,
    content         text NOT NULL,
    media_url       text,
    replaced_at     timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, rev)
);

CREATE TABLE chat.user_presence (
    user_id      uuid PRIMARY KEY REFERENCES core.users (id) ON DELETE CASCADE,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE chat.push_notifications (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id       uuid NOT NULL REFERENCES core.users (id) ON DELETE CASCADE,
    message_id    uuid NOT NULL,
    sent_at       timestamptz,
    delivered_at  timestamptz,
    failed_at     timestamptz,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_push_notifications_user ON chat.push_notifications (user_id, created_at DESC);
"""

COMMENTS = """
COMMENT ON TABLE chat.unread_totals IS 'For each user the sum of participants.unread_count';
COMMENT ON COLUMN chat.unread_totals.version IS
    'Counts the changes of the user''s counters, in the order in which they happened';
COMMENT ON TABLE chat.message_keys IS 'Which client_msg_id became which message; kept for ever';
COMMENT ON TABLE chat.receipts IS 'One row for each move of a participant''s cursor';
COMMENT ON TABLE chat.message_edits IS 'What an edit or a delete replaced';
COMMENT ON COLUMN chat.conversations.changed_xid IS
    'The transaction of the last change: what sync asks for';
COMMENT ON COLUMN chat.messages.sender_user_id IS
    'No foreign key: the sender is checked against the locked conversation';
"""

# Attaching instead of creating in place: the parent stays readable and writable.
# Rows that the default partition caught for a month move into its new partition.
# The default partition is locked before it is looked at, so that no row slips in.
# Attaching also locks the conversations against writing, and whoever writes them
# may wait for the default partition: the short timeout ends that before PostgreSQL
# looks for a deadlock and ends the other side. It runs with its owner's rights, so
# that a server which may only read and write can call it, too.
PARTITIONS = """
CREATE FUNCTION chat.ensure_message_partitions(months_ahead integer DEFAULT 3)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '300ms'
AS $$
DECLARE
    first date;
    last  date;
    name  text;
    made  integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('chat.ensure_message_partitions'));
    FOR month IN 0..months_ahead LOOP
        first := date_trunc('month', clock_timestamp()) + make_interval(months => month);
        last := first + interval '1 month';
        name := 'messages_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass('chat.' || name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE chat.%I (LIKE chat.messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            name
        );
        LOCK TABLE chat.messages_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'WITH moved AS (
                 DELETE FROM chat.messages_default
                 WHERE created_at >= %L AND created_at < %L RETURNING *
             )
             INSERT INTO chat.%I SELECT * FROM moved', first, last, name
        );
        EXECUTE format(
            'ALTER TABLE chat.messages ATTACH PARTITION chat.%I FOR VALUES FROM (%L) TO (%L)',
            name, first, last
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END;
$$;
REVOKE EXECUTE ON FUNCTION chat.ensure_message_partitions FROM PUBLIC;
SELECT chat.ensure_message_partitions();
"""

# A participant's row goes only when a user or a conversation is deleted.
TOTALS = """
CREATE FUNCTION chat.subtract_unread_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chat.unread_totals
    SET unread_count = unread_count - OLD.unread_count, version = version + 1
    WHERE user_id = OLD.user_id;
    RETURN NULL;
END;
$$;
CREATE TRIGGER subtract_unread_total AFTER DELETE ON chat.participants
    FOR EACH ROW WHEN (OLD.unread_count > 0) EXECUTE FUNCTION chat.subtract_unread_total();
"""

UNREAD_FUNCTION = """
CREATE FUNCTION chat.get_unread_count(p_user_id uuid, p_conversation_id uuid DEFAULT NULL)
RETURNS integer
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(
        CASE WHEN p_conversation_id IS NULL THEN
            (SELECT unread_count FROM chat.unread_totals WHERE user_id = p_user_id)
        ELSE
            (SELECT unread_count FROM chat.participants
             WHERE conversation_id = p_conversation_id AND user_id = p_user_id)
        END, 0)::integer;
$$;
"""

VIEW = """
CREATE VIEW chat.conversations_with_last_message AS
SELECT
    c.id, c.listing_id, c.client_user_id, c.owner_user_id, c.created_at, c.updated_at,
    c.last_message_at, c.is_active, c.archived_by_client, c.archived_by_owner,
    lm.id AS last_message_id,
    lm.sender_user_id AS last_message_sender_id,
    lm.content AS last_message_content,
    lm.message_type AS last_message_type,
    lm.created_at AS last_message_created_at,
    coalesce({l_title}, c.listing_title) AS listing_title,
    coalesce({l_price}, c.listing_price) AS listing_price,
    coalesce({l_currency}, c.listing_currency) AS listing_currency,
    {client_first_name} AS client_first_name,
    {client_last_name} AS client_last_name,
    {client_profile_picture_url} AS client_profile_picture,
    {owner_first_name} AS owner_first_name,
    {owner_last_name} AS owner_last_name,
    {owner_profile_picture_url} AS owner_profile_picture,
    (SELECT sum(p.unread_count) FROM chat.participants p
     WHERE p.conversation_id = c.id)::bigint AS unread_count
FROM chat.conversations c
LEFT JOIN LATERAL (
    SELECT m.* FROM chat.messages m
    WHERE m.conversation_id = c.id AND NOT m.is_deleted
      AND m.created_at BETWEEN c.created_at AND c.last_message_at
    ORDER BY m.seq DESC
    LIMIT 1
) lm ON true
LEFT JOIN core.listings l ON l.id = c.listing_id
LEFT JOIN core.users client ON client.id = c.client_user_id
LEFT JOIN core.users owner ON owner.id = c.owner_user_id
"""

GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        GRANT USAGE ON SCHEMA chat TO app_user;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA chat TO app_user;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA chat TO app_user;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA chat TO app_user;
    END IF;
END;
$$
"""


def upgrade() -> None:
    make_host_tables()
    for script in (TYPES, TABLES, COMMENTS, PARTITIONS, TOTALS, UNREAD_FUNCTION):
        run(script)
    run(VIEW.format(**shown_columns()))
    run(GRANTS)


def downgrade() -> None:
    run("DROP VIEW chat.conversations_with_last_message")
    run("DROP FUNCTION chat.get_unread_count, chat.ensure_message_partitions")
    run(
        "DROP TABLE chat.push_notifications, chat.user_presence, chat.message_edits, "
        "chat.receipts, chat.message_keys, chat.messages, chat.unread_totals, "
        "chat.participants, chat.conversations"
    )
    run("DROP FUNCTION chat.subtract_unread_total")
    run("DROP TYPE chat.message_status, chat.message_type")
    for table in ("listings", "users"):
        if comment_of(table) == OURS:
            run(f"DROP TABLE core.{table}")


def run(script: str) -> None:
    """Run a script of several statements, inside the migration's transaction.

    SQLAlchemy prepares what it executes, and PostgreSQL prepares only single
    statements; so the script goes to asyncpg itself. The first line is there
    because SQLAlchemy sends BEGIN no earlier than with its first statement.
    """
    op.get_bind().exec_driver_sql("SELECT 1")
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None
    connection.run_async(lambda asyncpg: asyncpg.execute(script))


def make_host_tables() -> None:
    if not op.get_bind().execute(text("SELECT to_regnamespace('core')")).scalar():
        run("CREATE SCHEMA core")
    for table, ddl in HOST_TABLES.items():
        columns = columns_of(table)
        if not columns:
            run(ddl)
            run(f"COMMENT ON TABLE core.{table} IS '{OURS}'")
            continue
        missing = {name for where, name in REQUIRED if where == table} - columns
        if missing:
            raise RuntimeError(f"core.{table} has no column {', '.join(sorted(missing))}")


def columns_of(table: str) -> set[str]:
    query = text(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = 'core' AND table_name = :table"
    )
    return set(op.get_bind().execute(query, {"table": table}).scalars())


def comment_of(table: str) -> str | None:
    query = text("SELECT obj_description(to_regclass(:name), 'pg_class')")
    return op.get_bind().execute(query, {"name": f"core.{table}"}).scalar()


def shown_columns() -> dict[str, str]:
    """An expression for each column of the host that the view shows."""
    shown = {}
    for alias, table in (("l", "listings"), ("client", "users"), ("owner", "users")):
        present = columns_of(table)
        for name, kind in SHOWN[table].items():
            value = f"{alias}.{name}" if name in present else "NULL"
            shown[f"{alias}_{name}"] = f"{value}::{kind}"
    return shown
