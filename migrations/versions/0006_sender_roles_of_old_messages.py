"""The role of the senders of messages from before there was one, a batch at a time."""

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A batch is so many pages of a partition, about 100,000 messages at most. New versions of
# rows go behind the last page, which is not looked for again.
PAGES = 2000

PARTITIONS = text("""
    SELECT inhrelid::regclass::text AS name,
           pg_relation_size(inhrelid) / current_setting('block_size')::bigint AS pages
    FROM pg_inherits WHERE inhparent = 'chat.messages'::regclass ORDER BY 1
""")

FILL = """
UPDATE {partition} AS m
SET sender_role = CASE m.sender_user_id
    WHEN c.client_user_id THEN 'client' WHEN c.owner_user_id THEN 'owner' ELSE 'service'
END
FROM chat.conversations c
WHERE c.id = m.conversation_id AND m.sender_role IS NULL
  AND m.ctid >= '({first},0)' AND m.ctid < '({last},0)'
"""


def upgrade() -> None:
    """Each batch is its own transaction; after a failure it all begins again, with less to do."""
    bind = op.get_bind()
    partitions = bind.execute(PARTITIONS).all()
    with op.get_context().autocommit_block():
        for name, pages in partitions:
            for first in range(0, pages, PAGES):
                op.execute(FILL.format(partition=name, first=first, last=first + PAGES))


def downgrade() -> None:
    """Nothing: the column goes with the revision before."""
