"""Redis is reached as a server, by TLS, through a Sentinel, and as a Cluster."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError

from chatserver.backplane import redis_channels, redis_links
from chatserver.backplane.redis_links import RedisLinks
from chatserver.dev.redis import EmbeddedRedis
from tests.integration.backplane.test_redis_bus import Listener, running_bus, until_heard
from tests.integration.backplane.test_redis_ledger import Node
from tests.kit.patient import PATIENT
from tests.kit.redis import (
    running_redis_cluster,
    running_sentinel_group,
    running_tls_redis,
)
from tests.kit.waiting import eventually

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def slow_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_links, "TIMEOUT", PATIENT)
    monkeypatch.setattr(redis_channels, "CONNECT_TIMEOUT", PATIENT)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisLinks]:
    links = RedisLinks(url)
    try:
        yield links
    finally:
        await links.close()


async def exchange(one: Listener, other: Listener, channel: str) -> None:
    """`one` tells `other` something."""
    before = len(other.heard)
    await other.bus.listen(channel)
    one.bus.publish([channel], b"hello")
    await until_heard(other, before + 1)
    assert other.heard[-1] == (channel, b"hello")


async def settle(links: RedisLinks) -> None:
    """One node learns what another has spent."""
    name = uuid4().hex
    one, other = Node(links.client, name), Node(links.client, name)
    one.buckets.charge("ann", 20)
    other.buckets.charge("ann", 10)
    assert await one.settle()
    assert await other.settle()
    assert other.left() == 30


async def test_by_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    async with running_tls_redis(tmp_path) as redis, opened(redis.url) as links:
        assert await links.client.get("key") is None
        async with running_bus(redis.url) as one, running_bus(redis.url) as other:
            await exchange(one, other, "a")
        await settle(links)


async def test_by_tls_a_stranger_is_refused(tmp_path: Path) -> None:
    async with (
        running_tls_redis(tmp_path) as redis,
        opened(f"rediss://127.0.0.1:{redis.port}") as links,
    ):
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            await links.client.get("key")


async def test_through_a_sentinel_and_over_a_failover() -> None:
    async with running_sentinel_group() as group, opened(group.url) as links:
        await links.client.set("key", "value")
        await settle(links)
        async with running_bus(group.url) as one, running_bus(group.url) as other:
            await exchange(one, other, "a")
            await group.kill_master()
            await eventually(lambda: not one.bus.is_receiving and not other.bus.is_receiving)
            began = time.monotonic()
            await eventually(lambda: one.bus.is_receiving and other.bus.is_receiving, seconds=60)
            await exchange(one, other, "a")
            print(f"heard again {time.monotonic() - began:.1f} s after the master had gone")
        await links.client.set("key", "another")
        assert await links.client.get("key") == b"another"
        await settle(links)


async def test_as_a_cluster_whichever_of_its_nodes_is_asked() -> None:
    async with running_redis_cluster() as servers:
        places = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        url = f"redis+cluster://{places}"
        async with opened(url) as links:
            for number in range(20):
                await links.client.set(f"key {number}", "value")
        async with (
            running_bus(f"redis+cluster://127.0.0.1:{servers[0].port}") as one,
            running_bus(f"redis+cluster://127.0.0.1:{servers[1].port}") as other,
            running_bus(url) as third,
        ):
            await exchange(one, other, "a")
            await exchange(other, one, "b")
            await exchange(one, third, "c")
            servers[0].kill()
            await eventually(lambda: not third.bus.is_receiving or not one.bus.is_receiving)
            await eventually(lambda: third.bus.is_receiving, seconds=30)
            await exchange(other, third, "d")


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:26379", "redis+sentinel://127.0.0.1:26379/0"]
)
async def test_a_sentinel_without_the_name_of_its_master_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="name of its master"):
        RedisLinks(url)


async def test_the_parts_of_a_url_arrive() -> None:
    async with opened("rediss://us%40er:pa%3Ass@host:7000/3?ssl_check_hostname=no") as links:
        connection = links.connect()
        assert (connection.username, connection.password, connection.db) == ("us@er", "pa:ss", 3)
        assert connection.protocol == 3
        assert repr(connection).startswith("<redis.asyncio.connection.SSLConnection(host=host")


async def test_a_command_that_is_cancelled_ends_as_cancelled(redis_server: EmbeddedRedis) -> None:
    """In whatever turn of the loop that comes; else its task would go on, and not end."""
    async with opened(redis_server.url) as links:
        await links.client.execute_command("PING")
        cancelled = 0
        for turns in range(30):
            command = asyncio.create_task(links.client.execute_command("PING"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if command.cancel():
                await asyncio.wait([command])
                assert command.cancelled(), f"after {turns} turns"
                cancelled += 1
        assert cancelled > 3
