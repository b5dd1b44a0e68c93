"""Sync after a crash, a restart, a restore and a promotion of the database server."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from chatserver.db import migrations
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.errors import Unavailable
from tests.kit.devices import CHANGE, TAKE_XID, Device, device_of, held_open, sync_service
from tests.kit.postgres import FAST
from tests.kit.services import Chat, Node, connected, running_node
from tests.kit.stalls import PATIENCE


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="chatserver-test-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def node_on(server: EmbeddedPostgres) -> AsyncIterator[Node]:
    async with running_node(server.url("chat")) as node:
        yield node


async def create(server: EmbeddedPostgres) -> str:
    await server.create_database("chat")
    url = server.url("chat")
    await migrations.upgrade(url)
    return url


async def test_a_change_that_gets_a_number_lost_in_a_crash_is_told(directory: Path) -> None:
    """Numbers of transactions that ended without reaching the disk are given out again.

    A cursor that relied on the snapshot alone would take the new change for an old one.
    """
    options = FAST | {"wal_writer_delay": "10s", "max_prepared_transactions": "5"}
    with EmbeddedPostgres(directory, options=options) as server:
        url = await create(server)
        async with node_on(server) as node:
            chat = await node.add_chat()
            device = await device_of(node, chat.owner)
            lost = await roll_back(url, 200)
            await device.sync()
            server.kill()
        await asyncio.to_thread(server.start)
        async with node_on(server) as node:
            device.service = await sync_service(node)
            await node.send(chat.client, chat)
            stamp = await node.value("SELECT changed_xid FROM chat.conversations")
            assert stamp <= lost, "the crash lost no number: this test shows nothing"
            await roll_back(url, 300)  # past all that was lost
            answer = await device.page()
            assert [one.conversation.last_seq for one in answer.conversations] == [1]
            assert not answer.reset
            await check_prepared(node, device, url, chat)


async def roll_back(url: str, count: int) -> int:
    """Use up so many transaction numbers: the last of them."""
    async with connected(url) as connection:
        for _ in range(count):
            await connection.execute("BEGIN")
            xid = await connection.fetchval(TAKE_XID)
            await connection.execute("ROLLBACK")
    return int(xid)


async def check_prepared(node: Node, device: Device, url: str, chat: Chat) -> None:
    """A prepared transaction is open until its commit, even without a connection."""
    async with held_open(url, TAKE_XID) as slow:
        other = await node.add_chat(owner=chat.owner)
        await slow.execute(CHANGE, chat.id)
        await slow.execute("PREPARE TRANSACTION 'slow'")
    assert await device.sync() == [other.id]
    async with connected(url) as connection:
        await connection.execute("COMMIT PREPARED 'slow'")
    assert await device.sync() == [chat.id]


async def test_a_restart_keeps_cursors_and_a_restored_backup_resets_them(directory: Path) -> None:
    """The backup becomes a standby that is promoted, as a restore does it too."""
    server = EmbeddedPostgres(directory, options=FAST)
    with server:
        await create(server)
        async with node_on(server) as node:
            chat = await node.add_chat()
            device = await device_of(node, chat.owner)
    backup = directory / "backup"
    await asyncio.to_thread(copy, directory / "cluster", backup)
    with server:
        async with node_on(server) as node:
            device.service = await sync_service(node)
            await node.send(chat.client, chat)
            assert not (await device.page()).reset
            assert device.known[chat.id].last_seq == 1
    shutil.rmtree(directory / "cluster")
    backup.rename(directory / "cluster")
    (directory / "cluster" / "standby.signal").touch()
    try:
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        await check_standby(server, device, chat)
        await starting
    finally:
        server.stop()


def copy(source: Path, target: Path) -> None:
    """With its owners, unlike shutil."""
    subprocess.run(["cp", "-a", source, target], check=True)


async def check_standby(server: EmbeddedPostgres, device: Device, chat: Chat) -> None:
    async with when_connected(server) as node:
        device.service = await sync_service(node)
        with pytest.raises(Unavailable):
            await device.page()
        await node.sql("SELECT pg_promote()")
        await roll_back(server.url("chat"), 100)  # past the number in the cursor
        answer = await device.page()
        assert answer.reset
        assert device.known[chat.id].last_seq == 0


@asynccontextmanager
async def when_connected(server: EmbeddedPostgres) -> AsyncIterator[Node]:
    """A node on a standby, which EmbeddedPostgres does not take for started."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    node = await stack.enter_async_context(node_on(server))
                    break
                except (Unavailable, OSError):
                    await asyncio.sleep(0.05)
        yield node
