"""Whoever reads while strays move into a new partition waits, and then finds them there."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As in 0001, but for the locks. A query looks up which partitions there are before it
# locks them: one that only waited for the default partition would then look for the
# moved rows there alone. Whoever waits for the parent has not looked yet. Attaching
# locks the conversations, too, which those who write have when they come to the
# messages: in that order nobody is in another's way.
FUNCTION = """
CREATE OR REPLACE FUNCTION chat.ensure_message_partitions(months_ahead integer DEFAULT 3)
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
        {locks}
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
$$
"""


LOCKS = """LOCK TABLE chat.conversations IN SHARE ROW EXCLUSIVE MODE;
        LOCK TABLE chat.messages IN ACCESS EXCLUSIVE MODE;"""

LOCKS_BEFORE = "LOCK TABLE chat.messages_default IN ACCESS EXCLUSIVE MODE;"


def upgrade() -> None:
    op.execute(FUNCTION.format(locks=LOCKS))


def downgrade() -> None:
    op.execute(FUNCTION.format(locks=LOCKS_BEFORE))
