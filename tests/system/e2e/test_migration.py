"""`migrate` while nodes of the version before it are running, under load."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest
from aiohttp import ClientSession

import chatserver
from chatserver.db import migrations
from chatserver.dev.ports import free_port
from tests.kit.app import SECRET
from tests.kit.clients import TIMEOUT, Rest, open_chat, opened
from tests.kit.loads import Load, over_rest, over_socket, stored_keys
from tests.kit.processes import ServerProcess, run, serving
from tests.kit.services import connected
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually

OLD: Final = "0010"
"""What the older node knows. Raise it when the server cannot send without a later one.

`make older` shows the same of nodes whose code is older, too.
"""

FURTHER: Final = """
from alembic import op

from chatserver.db.migrations import with_short_locks

revision = "further"
down_revision = "{newest}"


def upgrade():
    with_short_locks(
        op.get_bind(),
        "ALTER TABLE chat.unread_totals DROP CONSTRAINT further",
        "ALTER TABLE chat.conversations ADD COLUMN further integer",
    )
"""
"""A revision behind ours that locks the host's users and what sends need, as 0008 and 0010 do."""

KEY: Final = """
    ALTER TABLE chat.unread_totals
    ADD CONSTRAINT further FOREIGN KEY (user_id) REFERENCES core.users (id)
"""


@pytest.fixture
async def old_database_url(empty_database_url: str) -> str:
    await migrations.upgrade(empty_database_url, OLD)
    return empty_database_url


def old_checkout(folder: Path) -> Path:
    """A copy of this checkout that has no migration after OLD."""
    source = Path(chatserver.__file__).parent.parent
    for part in ("chatserver", "config", "migrations"):
        shutil.copytree(source / part, folder / part)
    for file in (folder / "migrations" / "versions").glob("[0-9]*.py"):
        if file.name[:4] > OLD:
            file.unlink()
    return folder


def further_migrations(folder: Path) -> Path:
    """A copy of the migrations with FURTHER behind them."""
    shutil.copytree(migrations.migrations_directory(), folder)
    versions = folder / "versions"
    newest = max(file.name[:4] for file in versions.glob("[0-9]*.py"))
    (versions / "further.py").write_text(FURTHER.format(newest=newest), "utf-8")
    return folder


def old_node(
    database_url: str, directory: Path, checkout: Path | None = None
) -> AbstractAsyncContextManager[ServerProcess]:
    """A node of that copy, or of this checkout; its users write as much as they can."""
    return serving(database_url, free_port(), directory, checkout=checkout, rate_limit__user="")


async def migrate(database_url: str) -> "CompletedProcess[str]":
    """`chatserver migrate` of this checkout."""
    return await asyncio.to_thread(run, "migrate", database__url=database_url, jwt__secret=SECRET)


@asynccontextmanager
async def under_load(database_url: str, server: ServerProcess) -> AsyncIterator[Load]:
    """Two sockets and two REST callers send all the time; at the end none was refused."""
    load = Load()
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, *chat.people) as devices:
            sends = [over_socket(device, chat) for device in devices] + [over_rest(rest, chat)] * 2
            senders = [asyncio.create_task(load.keep_sending(send)) for send in sends]
            await eventually(lambda: bool(load.stored), TIMEOUT)
            yield load
            assert not any(sender.done() for sender in senders)
            server.terminate()
            assert await server.exit_code() == 0
            await asyncio.gather(*senders)
    assert load.refused == {}
    stored = await stored_keys(database_url)
    assert load.stored <= stored
    assert not load.unanswered & stored


async def test_an_older_node_goes_on_sending_while_the_database_is_migrated(
    old_database_url: str, tmp_path: Path
) -> None:
    checkout = old_checkout(tmp_path / "old")
    async with (
        old_node(old_database_url, tmp_path, checkout) as server,
        under_load(old_database_url, server) as load,
    ):
        before = len(load.stored)
        ran = await migrate(old_database_url)
        assert ran.returncode == 0, ran.stderr
        during = len(load.stored)
        assert before < during
        await eventually(lambda: len(load.stored) > during, TIMEOUT)
        await server.wait_ready()
    # It may also be started on the newer database: after a crash, or to roll back.
    async with (
        old_node(old_database_url, tmp_path, checkout) as server,
        under_load(old_database_url, server),
    ):
        pass


async def test_a_migration_that_cannot_get_a_lock_tries_again_and_nobody_waits_for_it(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs the host's users and the tables of a send, of which the host reads one."""
    url = empty_database_url
    await migrations.upgrade(url)
    async with connected(url) as connection:
        await connection.execute(KEY)
    async with (
        old_node(url, tmp_path) as server,
        under_load(url, server) as load,
        connected(url) as host,
        connected(url) as log_ins,
    ):
        further = further_migrations(tmp_path / "further")
        monkeypatch.setattr(migrations, "migrations_directory", lambda: further)
        async with host.transaction():  # of the host application, with locks of its own
            await host.execute("SELECT count(*) FROM chat.conversations")
            migrating = asyncio.create_task(migrations.upgrade(url))
            # Each attempt holds others up for 0.1 s; one that waited would do so until its end.
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(
                    goes_on(4, load.next_stored),
                    goes_on(4, lambda: log_ins.execute("SELECT FROM core.users LIMIT 1")),
                )
            assert not migrating.done()
        await migrating
        await log_ins.execute("SELECT further FROM chat.conversations LIMIT 1")


async def goes_on(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    """Take `step` again and again for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await step()
        await asyncio.sleep(0.01)


async def test_a_node_does_not_start_on_an_older_database(old_database_url: str) -> None:
    ran = await asyncio.to_thread(run, "serve", database__url=old_database_url, jwt__secret=SECRET)
    assert ran.returncode == 1
    assert ran.stderr == (
        "chatserver: the database is not migrated: run `chatserver migrate` first\n"
    )
