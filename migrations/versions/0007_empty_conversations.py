"""A conversation in which nothing was written yet may be hidden from its owner."""

from alembic import op

from chatserver.db.migrations import with_short_locks

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# True for those that there are, and for what older nodes open: their owners were told.
COLUMN = """
ALTER TABLE chat.conversations ADD COLUMN shown_empty boolean NOT NULL DEFAULT true
"""

COMMENT = """
COMMENT ON COLUMN chat.conversations.shown_empty IS
    'Whether its owner is shown it before its first message: the host opened it'
"""


def upgrade() -> None:
    with_short_locks(op.get_bind(), COLUMN, COMMENT)


def downgrade() -> None:
    with_short_locks(op.get_bind(), "ALTER TABLE chat.conversations DROP COLUMN shown_empty")
