"""Whoever is deleted from the host's users takes nobody else's conversations along."""

from alembic import op
from sqlalchemy import text

from chatserver.db.migrations import with_short_locks

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The tables that sends need come last, and the first is one that nobody waits for: with its
# key core.users is locked, for which a plain LOCK would ask for rights that the key did not.
KEYS = {
    "push_notifications": ["user_id"],
    "user_presence": ["user_id"],
    "unread_totals": ["user_id"],
    "participants": ["user_id"],
    "conversations": ["client_user_id", "owner_user_id"],
}

OURS = "Made by chatserver: the host application had no such table."

COMMENTS = """
COMMENT ON TABLE chat.participants IS
    'No foreign key to the users: what others wrote and read stays when one of them is deleted'
"""


def drop(table: str, columns: list[str]) -> str:
    names = ", ".join(f"DROP CONSTRAINT IF EXISTS {table}_{column}_fkey" for column in columns)
    return f"ALTER TABLE chat.{table} {names}"


def add(table: str, columns: list[str]) -> str:
    """Not validated: the users of some rows are gone by now."""
    names = ", ".join(
        f"ADD CONSTRAINT {table}_{column}_fkey FOREIGN KEY ({column})"
        " REFERENCES core.users (id) ON DELETE CASCADE NOT VALID"
        for column in columns
    )
    return f"ALTER TABLE chat.{table} {names}"


def own_listings(action: str) -> list[str]:
    """Where the host's tables are our own, a user is no longer kept by their listings."""
    comment = text("SELECT obj_description(to_regclass('core.listings'), 'pg_class')")
    if op.get_bind().execute(comment).scalar() != OURS:
        return []
    return [
        "ALTER TABLE core.listings DROP CONSTRAINT IF EXISTS listings_owner_user_id_fkey, "
        "ADD CONSTRAINT listings_owner_user_id_fkey FOREIGN KEY (owner_user_id) "
        f"REFERENCES core.users (id) ON DELETE {action}"
    ]


def upgrade() -> None:
    drops = [drop(table, columns) for table, columns in KEYS.items()]
    with_short_locks(op.get_bind(), *drops, COMMENTS, *own_listings("CASCADE"))


def downgrade() -> None:
    adds = [add(table, columns) for table, columns in KEYS.items()]
    with_short_locks(op.get_bind(), *adds, *own_listings("NO ACTION"))
