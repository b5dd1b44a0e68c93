"""Runs the migrations, one migrator at a time, in one transaction each."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from chatserver.db.migrations import VERSION_SCHEMA, create_migration_engine

# Any number that no other application on this cluster is likely to use.
MIGRATION_LOCK = 0x63686174

NAME = {"name": VERSION_SCHEMA}


def migrate(connection: Connection) -> None:
    """Bring the database that `connection` is open on to the wanted revision.

    The advisory lock makes a second migrator wait for the first; the timeout makes
    a statement that meets a busy table give up instead of queueing everyone behind
    itself (`chatserver.db.migrations` then runs the revision again).
    """
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    try:
        connection.execute(text("SET lock_timeout = '2s'"))
        # IF NOT EXISTS alone asks for the right to make schemas even where it exists.
        if not connection.execute(text("SELECT to_regnamespace(:name)"), NAME).scalar():
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_SCHEMA}"))
        connection.commit()
        context.configure(
            connection=connection,
            version_table_schema=VERSION_SCHEMA,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    finally:
        if connection.in_transaction():
            connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()


async def main(url: str) -> None:
    engine = create_migration_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if connection := context.config.attributes.get("connection"):
    migrate(connection)
else:
    asyncio.run(main(os.environ["CHAT_DATABASE_URL"]))
