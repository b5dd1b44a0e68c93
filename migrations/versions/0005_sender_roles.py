"""What the sender of a message was in its conversation."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# May be NULL: nodes of the version before do not write it. No list of what it may be:
# PostgreSQL would read all messages to check it.
COLUMN = "ALTER TABLE chat.messages ADD COLUMN sender_role text"

COMMENT = """
COMMENT ON COLUMN chat.messages.sender_role IS
    'client, owner, or service and admin, who take no part; NULL: by the conversation''s columns'
"""


def upgrade() -> None:
    op.execute(COLUMN)
    op.execute(COMMENT)


def downgrade() -> None:
    op.execute("ALTER TABLE chat.messages DROP COLUMN sender_role")
