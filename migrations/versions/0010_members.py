"""Members of a conversation: more than the two, who come and go."""

from alembic import op

from chatserver.db.migrations import with_short_locks

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Who is in a conversation is repeated in its own row, for an append reads it there, once it
# has the lock: other tables it sees as they were before it waited.
CONVERSATIONS = """
ALTER TABLE chat.conversations
    ADD COLUMN member_ids uuid[],
    ADD COLUMN member_roles "char"[],
    ADD COLUMN members_xid xid8 NOT NULL DEFAULT '0',
    ADD COLUMN assigned_user_id uuid
"""

PARTICIPANTS = """
ALTER TABLE chat.participants
    ADD COLUMN joined_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN joined_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN left_at timestamptz,
    ADD COLUMN left_xid xid8,
    ADD COLUMN former_side text,
    ADD COLUMN active_on date,
    DROP CONSTRAINT participants_role_check,
    ADD CONSTRAINT participants_role_check
        CHECK (role IN ('client', 'co_client', 'owner', 'agent', 'observer')) NOT VALID
"""

# A number of a transaction that there has been, also of one after the caller's snapshot: one
# that came with a dump of another database may be of none.
ASSIGNED = """
CREATE FUNCTION chat.is_assigned(xid xid8) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN xid < pg_snapshot_xmax(pg_current_snapshot());
END
$$
"""

# A node of the version before opens conversations without a list.
LIST = """
CREATE FUNCTION chat.list_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.member_ids := ARRAY[NEW.client_user_id, NEW.owner_user_id];
    NEW.member_roles := ARRAY['C', 'O']::"char"[];
    RETURN NEW;
END
$$
"""

LISTED = """
CREATE TRIGGER list_members BEFORE INSERT ON chat.conversations
    FOR EACH ROW WHEN (NEW.member_ids IS NULL) EXECUTE FUNCTION chat.list_members()
"""

# Whoever stores the message. So the index by day changes once a day, and a send stays HOT.
DATE = """
CREATE FUNCTION chat.date_participants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chat.participants
    SET active_on = (coalesce(NEW.last_message_at, NEW.created_at) AT TIME ZONE 'UTC')::date
    WHERE conversation_id = NEW.id;
    RETURN NULL;
END
$$
"""

DATED = """
CREATE TRIGGER date_participants AFTER UPDATE OF last_message_at, created_at
    ON chat.conversations
    FOR EACH ROW WHEN (
        (coalesce(OLD.last_message_at, OLD.created_at) AT TIME ZONE 'UTC')::date
        <> (coalesce(NEW.last_message_at, NEW.created_at) AT TIME ZONE 'UTC')::date
    ) EXECUTE FUNCTION chat.date_participants()
"""

DATE_NEW = """
CREATE FUNCTION chat.date_participant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.active_on := (
        SELECT (coalesce(last_message_at, created_at) AT TIME ZONE 'UTC')::date
        FROM chat.conversations WHERE id = NEW.conversation_id
    );
    RETURN NEW;
END
$$
"""

NEW_DATED = """
CREATE TRIGGER date_participant BEFORE INSERT ON chat.participants
    FOR EACH ROW EXECUTE FUNCTION chat.date_participant()
"""

STANDING = """
CREATE TABLE chat.standing_agents (
    owner_user_id uuid NOT NULL,
    agent_user_id uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    walked_to     uuid,
    is_done       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner_user_id, agent_user_id),
    CHECK (owner_user_id <> agent_user_id)
)
"""

UNDONE = """
CREATE INDEX idx_standing_agents_undone ON chat.standing_agents (owner_user_id) WHERE NOT is_done
"""

# What counts in rev and is no message, edit or receipt.
CHANGES = """
CREATE TABLE chat.conversation_changes (
    conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
    rev             bigint NOT NULL,
    kind            text NOT NULL,
    user_id         uuid,
    role            text,
    by_user_id      uuid,
    at              timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, rev),
    CHECK (kind IN ('added', 'removed', 'closed', 'reopened', 'assigned'))
)
"""

COMMENTS = [
    "COMMENT ON TABLE chat.conversation_changes IS"
    " 'Who was added, removed or assigned, and who closed and reopened it; never any text'",
    "COMMENT ON COLUMN chat.conversations.member_ids IS"
    " 'Those of chat.participants who have not left, client and owner first'",
    "COMMENT ON COLUMN chat.conversations.member_roles IS"
    " 'Of each of member_ids: C client, O owner, c co_client, a agent, v observer'",
    "COMMENT ON COLUMN chat.conversations.members_xid IS"
    " 'The transaction of the last change of member_ids or member_roles'",
    "COMMENT ON COLUMN chat.participants.joined_seq IS"
    " 'The last message before they were added: what is not unread to them'",
    "COMMENT ON COLUMN chat.participants.left_xid IS"
    " 'The transaction in which they left: what sync says removed by'",
    "COMMENT ON COLUMN chat.participants.former_side IS"
    " 'The side, client or owner, that an observer was on before'",
    "COMMENT ON COLUMN chat.participants.active_on IS"
    " 'The day in UTC of the conversation''s last message, or of its opening'",
    "COMMENT ON TABLE chat.standing_agents IS"
    " 'Who is an agent in all conversations of an owner; walked_to is how far that is done'",
]

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON chat.standing_agents, chat.conversation_changes
            TO app_user;
    END IF;
END
$$
"""


def upgrade() -> None:
    with_short_locks(
        op.get_bind(),
        *(CONVERSATIONS, PARTICIPANTS, ASSIGNED, LIST, LISTED, DATE, DATED),
        *(DATE_NEW, NEW_DATED),
        *(STANDING, UNDONE, CHANGES, *COMMENTS, GRANT),
    )


def downgrade() -> None:
    """Those who are neither client nor owner go; what they wrote stays, as another voice's."""
    with_short_locks(
        op.get_bind(),
        "DROP TABLE chat.standing_agents, chat.conversation_changes",
        "DROP TRIGGER list_members ON chat.conversations",
        "DROP TRIGGER date_participants ON chat.conversations",
        "DROP TRIGGER date_participant ON chat.participants",
        "DROP FUNCTION chat.list_members, chat.date_participants, chat.date_participant,"
        " chat.is_assigned",
        "UPDATE chat.messages SET sender_role = 'service'"
        " WHERE sender_role IN ('co_client', 'agent')",
        "DELETE FROM chat.participants WHERE role NOT IN ('client', 'owner')",
        "ALTER TABLE chat.conversations DROP COLUMN member_ids, DROP COLUMN member_roles,"
        " DROP COLUMN members_xid, DROP COLUMN assigned_user_id",
        "ALTER TABLE chat.participants DROP COLUMN joined_seq, DROP COLUMN joined_at,"
        " DROP COLUMN left_at, DROP COLUMN left_xid, DROP COLUMN former_side,"
        " DROP COLUMN active_on, DROP CONSTRAINT participants_role_check,"
        " ADD CONSTRAINT participants_role_check CHECK (role IN ('client', 'owner'))",
        "DELETE FROM chat.promises WHERE name = 'members'",
    )
