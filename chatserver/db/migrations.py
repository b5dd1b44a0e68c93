"""Brings a database to a revision of `migrations/`, in-process."""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from chatserver.db.engine import create_engine, is_lock_conflict

VERSION_SCHEMA: Final = "chat"

ATTEMPTS: Final = 10
PAUSE: Final = 1.0
"""Seconds between two attempts: those who waited behind the last one go first."""

STATEMENT_TIMEOUT: Final = 3600.0

LOCK_TIMEOUT: Final = "100ms"
LOCK_ATTEMPTS: Final = 30
LOCK_PAUSE: Final = 0.9


def migrations_directory() -> Path:
    """The folder of the migrations: in a checkout at its top, else inside the package."""
    package = Path(__file__).parent.parent
    inside = package / "_data" / "migrations"
    return inside if inside.exists() else package.parent / "migrations"


async def upgrade(url: str, revision: str = "head", *, attempts: int = ATTEMPTS) -> None:
    """Run every migration up to `revision` that has not run yet; safe to repeat.

    A migration that meets a lock of the host application on its tables gives up after
    two seconds, so as not to hold up others, and is tried `attempts` times.
    """
    await _run(url, lambda config: command.upgrade(config, revision), attempts)


async def downgrade(url: str, revision: str) -> None:
    """Undo migrations down to `revision` (`base`: all of them, with all messages)."""
    await _run(url, lambda config: command.downgrade(config, revision), ATTEMPTS)


def create_migration_engine(url: str) -> AsyncEngine:
    """One connection, on which a statement may take long."""
    return create_engine(url, pool_size=1, statement_timeout=STATEMENT_TIMEOUT)


def with_short_locks(connection: Connection, *statements: str) -> None:
    """Run what needs exclusive locks on tables that are in use, inside a migration.

    None of the locks is waited for longer than LOCK_TIMEOUT, for so long those who come
    later wait, too; then all are given back, and after a pause it is tried again.
    Raises the last conflict after LOCK_ATTEMPTS.
    """
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.begin_nested():
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                for statement in statements:
                    connection.execute(text(statement))
        except DBAPIError as error:
            if attempt == LOCK_ATTEMPTS or not is_lock_conflict(error):
                raise
            await_only(asyncio.sleep(LOCK_PAUSE))
        else:
            return


async def is_current(engine: AsyncEngine) -> bool:
    """Return whether the database has every migration that this version of the server knows.

    A database that is ahead (a newer node migrated it) counts as current: migrations
    keep older nodes working.
    """
    newest, known = _revisions()

    def check(connection: Connection) -> bool:
        context = MigrationContext.configure(
            connection, opts={"version_table_schema": VERSION_SCHEMA}
        )
        heads = set(context.get_current_heads())
        return bool(heads) and (heads == newest or not heads <= known)

    async with engine.connect() as connection:
        return await connection.run_sync(check)


@cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """The newest of this version of the server, and all; read from the files once."""
    script = ScriptDirectory.from_config(_config())
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return frozenset(script.get_heads()), known


def _config() -> Config:
    config = Config()
    # Alembic reads the value with configparser, to which "%" is special.
    config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def _run(url: str, action: Callable[[Config], None], attempts: int) -> None:
    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        action(config)

    engine = create_migration_engine(url)
    try:
        while True:
            attempts -= 1
            try:
                async with engine.connect() as connection:
                    return await connection.run_sync(run)
            except Exception as error:
                if not attempts or not is_lock_conflict(error):
                    raise
            await asyncio.sleep(PAUSE)
    finally:
        await engine.dispose()
