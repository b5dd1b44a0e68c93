"""Whether a node can serve, as the load balancer hears it."""

import asyncio
from dataclasses import replace

import pytest

from chatserver.db import migrations
from chatserver.db.engine import Database, create_engine
from chatserver.services import readiness
from chatserver.services.readiness import Checks, Readiness
from tests.kit.postgres import running_postgres
from tests.kit.stalls import PATIENCE

READY = Checks(database=True, migrations=True, backplane=True, draining=False)


TIMEOUT = readiness.TIMEOUT


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """And patient: what is there may be slow."""
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    monkeypatch.setattr(readiness, "TIMEOUT", 2 * PATIENCE)


async def test_a_node_with_all_its_parts_is_ready(database_url: str) -> None:
    database = Database(create_engine(database_url, pool_size=2))
    checks = await Readiness(database).check()
    assert checks == READY
    assert checks.is_ready
    await database.dispose()


async def test_a_draining_node_is_not_ready(database_url: str) -> None:
    database = Database(create_engine(database_url, pool_size=2))
    node = Readiness(database)
    node.drain()
    checks = await node.check()
    assert checks.draining
    assert not checks.is_ready
    await database.dispose()


@pytest.mark.parametrize("asked", ["before", "after"])
async def test_a_draining_node_says_so_at_once_whatever_hangs(
    database_url: str, asked: str
) -> None:
    is_hanging = False

    async def backplane() -> bool:
        if is_hanging:
            await asyncio.sleep(60)
        return True

    database = Database(create_engine(database_url, pool_size=2))
    node = Readiness(database, backplane)
    assert await node.check() == READY
    is_hanging = True
    waiting = [asyncio.create_task(node.check()) for _ in range(2 if asked == "before" else 0)]
    await asyncio.sleep(0.1)
    node.drain()
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(node.check(), *waiting)
    assert set(found) == {replace(READY, draining=True)}
    await database.dispose()


async def test_a_node_is_ready_once_its_database_is_migrated(empty_database_url: str) -> None:
    database = Database(create_engine(empty_database_url, pool_size=2))
    node = Readiness(database)
    checks = await node.check()
    assert (checks.database, checks.migrations, checks.is_ready) == (True, False, False)
    await migrations.upgrade(empty_database_url)
    assert (await node.check()).is_ready
    await database.dispose()


async def test_a_node_is_not_ready_without_its_database_and_ready_again_with_it() -> None:
    with running_postgres() as server:
        await server.create_database("chat")
        await migrations.upgrade(server.url("chat"))
        database = Database(create_engine(server.url("chat"), pool_size=2))
        node = Readiness(database)
        assert (await node.check()).is_ready
        server.stop()
        checks = await node.check()
        assert (checks.database, checks.is_ready) == (False, False)
        server.start()
        assert (await node.check()).is_ready
        await database.dispose()


async def test_a_busy_pool_is_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", TIMEOUT)
    database = Database(create_engine(database_url, pool_size=1, pool_timeout=2 * PATIENCE))
    async with database.engine.connect(), asyncio.timeout(PATIENCE):
        assert not (await Readiness(database).check()).database
    await database.dispose()


@pytest.mark.parametrize("failure", ["partitioned", "broken", "hanging"])
async def test_a_node_that_does_not_hear_the_others_is_not_ready(
    database_url: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failure == "hanging":
        monkeypatch.setattr(readiness, "TIMEOUT", TIMEOUT)

    async def backplane() -> bool:
        if failure == "broken":
            raise ConnectionError
        if failure == "hanging":
            await asyncio.sleep(60)
        return False

    database = Database(create_engine(database_url, pool_size=2))
    checks = await Readiness(database, backplane).check()
    assert (checks.backplane, checks.is_ready) == (False, False)
    assert checks.database or failure == "hanging", "the others are patient"
    await database.dispose()


async def test_however_many_ask_at_once_the_parts_are_asked_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH", 60.0)
    asked = 0

    async def backplane() -> bool:
        nonlocal asked
        asked += 1
        return True

    database = Database(create_engine(database_url, pool_size=2))
    node = Readiness(database, backplane)
    checks = await asyncio.gather(*(node.check() for _ in range(50)))
    assert set(checks) == {READY}
    assert asked == 1
    node.drain()
    assert not (await node.check()).is_ready
    await database.dispose()
