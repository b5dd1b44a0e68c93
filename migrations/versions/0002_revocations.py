"""Tokens and users whose tokens are refused before they expire."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# No foreign key: a user who was deleted must stay refused.
TABLE = """
CREATE TABLE chat.revocations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    jti text UNIQUE,
    user_id uuid UNIQUE,
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    lifted_at timestamptz,
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CHECK (num_nonnulls(jti, user_id) = 1),
    -- Times that the server can read, whoever wrote them.
    CHECK (revoked_at >= '2000-01-01' AND revoked_at < '9999-12-31'),
    CHECK (expires_at >= '2000-01-01' AND (expires_at < '10000-01-01' OR expires_at = 'infinity'))
)
"""

INDEX = "CREATE INDEX idx_revocations_changed ON chat.revocations (changed_xid)"

COMMENT = """
COMMENT ON TABLE chat.revocations IS
    'One token (jti), or all tokens of a user that were issued before revoked_at'
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON chat.revocations TO app_user;
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(INDEX)
    op.execute(COMMENT)
    op.execute(GRANT)


def downgrade() -> None:
    op.execute("DROP TABLE chat.revocations")
