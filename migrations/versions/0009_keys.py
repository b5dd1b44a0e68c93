"""Keys that nodes share, which nodes are alive, and what all of them have learned to keep."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A new row is a new key: 244 random bits from PostgreSQL's own strong source.
KEYS = """
CREATE TABLE chat.keys (
    purpose text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (purpose, id),
    CHECK (length(key) BETWEEN 16 AND 64)
)
"""

NODES = """
CREATE TABLE chat.nodes (
    id uuid PRIMARY KEY,
    version integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
)
"""

PROMISES = """
CREATE TABLE chat.promises (
    name text PRIMARY KEY,
    kept_since timestamptz NOT NULL DEFAULT now()
)
"""

COMMENTS = [
    "COMMENT ON TABLE chat.keys IS"
    " 'Secrets of the nodes, for each purpose; insert a row with the purpose alone for a new one'",
    "COMMENT ON TABLE chat.nodes IS 'Nodes that run, and which promises they know of'",
    "COMMENT ON TABLE chat.promises IS"
    " 'What every node keeps since no older one was alive; delete a row before going back to one'",
]

# Not chat.keys: who may read the messages need not be able to speak as a node.
GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON chat.nodes, chat.promises TO app_user;
    END IF;
END
$$
"""


def upgrade() -> None:
    for script in (KEYS, NODES, PROMISES, *COMMENTS, GRANT):
        op.execute(script)


def downgrade() -> None:
    op.execute("DROP TABLE chat.keys, chat.nodes, chat.promises")
