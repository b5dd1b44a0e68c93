"""Nodes that do not hear from Redis say so here, and the others look for what they missed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE chat.cut_off_nodes (
    node_id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
)
"""

COMMENT = """
COMMENT ON TABLE chat.cut_off_nodes IS
    'Nodes that Redis cannot be reached from, while that lasts: their events reach nobody else'
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON chat.cut_off_nodes TO app_user;
    END IF;
END
$$
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(COMMENT)
    op.execute(GRANT)


def downgrade() -> None:
    op.execute("DROP TABLE chat.cut_off_nodes")
