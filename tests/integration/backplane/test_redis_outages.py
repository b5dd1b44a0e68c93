"""Presence leases while Redis is frozen, killed or emptied, and when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from chatserver.backplane.leases import TooManyLeases
from chatserver.backplane.redis_calls import PAUSE, TIMEOUT
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.leases import ONE, TTL, TWO, Nodes, running_nodes, told
from tests.kit.patient import PATIENT
from tests.kit.stalls import PATIENCE


@asynccontextmanager
async def running(prefix: str, deadline: float) -> AsyncIterator[Nodes]:
    """Nodes on a Redis of their own, which they have found."""
    async with EmbeddedRedis() as server, running_nodes(server, prefix, deadline) as nodes:
        await nodes.one.expire()
        await nodes.two.expire()
        yield nodes


@pytest.fixture
async def own(redis_prefix: str) -> AsyncIterator[Nodes]:
    """Nodes on a Redis that the test may kill or empty: what it refuses it refuses at once."""
    async with running(redis_prefix, PATIENT) as nodes:
        yield nodes


@pytest.fixture
async def hasty(redis_prefix: str) -> AsyncIterator[Nodes]:
    """With the deadline of the product, on a Redis that the test may freeze.

    What is asked before may be late, too, where the machine is.
    """
    async with running(redis_prefix, TIMEOUT) as nodes:
        yield nodes


async def eventually(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Until `ask` answers what is wanted; a node asks as often as its tick does."""
    async with asyncio.timeout(PATIENCE):
        while (found := await ask()) != wanted:
            assert isinstance(found, set | list | bool)
            await asyncio.sleep(0.02)


async def test_what_redis_lost_is_made_again_and_nobody_is_told(own: Nodes) -> None:
    for leases, user in ((own.one, ONE), (own.two, TWO)):
        await leases.acquire(user, "a", TTL)
        await leases.settle([user])
    await own.client.flushall()
    assert (await told(own.one), await told(own.two)) == ([], [])
    assert await own.new().online([ONE, TWO]) == {ONE, TWO}
    await own.client.flushall()
    await own.two.renew([(TWO, "a")], TTL)
    assert await own.new().online([ONE, TWO]) == {TWO}
    await asyncio.sleep(0.6)
    assert (await told(own.one), await told(own.two)) == ([], [])
    assert await own.new().online([ONE, TWO]) == {ONE, TWO}
    assert not await own.two.acquire(ONE, "b", TTL)


@pytest.mark.parametrize("fault", ["freeze", "kill"])
async def test_without_redis_nobody_waits_and_the_node_answers_for_itself(
    hasty: Nodes, fault: str
) -> None:
    node = hasty.one
    await node.acquire(ONE, "a", TTL)
    await asyncio.to_thread(getattr(hasty.server, fault))
    started = time.monotonic()
    with capture_logs() as waits:
        assert await node.acquire(TWO, "b", TTL, 2)
        assert not await node.acquire(TWO, "c", TTL, 2)
        with pytest.raises(TooManyLeases):
            await node.acquire(TWO, "d", TTL, 2)
        assert await node.online([ONE, TWO]) == {ONE, TWO}
        await node.renew([(ONE, "a")], TTL)
        await node.shorten(ONE, "a", 0.0)
        assert await node.expire() == [ONE]
        await node.settle([ONE])
        assert await node.online([ONE, TWO]) == {TWO}
    took = time.monotonic() - started
    assert len(waits) <= 1 + took / PAUSE, "who has waited asks no more for a while"
    assert not hasty.client.connection_pool._in_use_connections


async def test_who_came_and_went_without_redis_is_told_when_it_is_back(own: Nodes) -> None:
    three = UUID(int=3)
    for user in (ONE, TWO):
        await own.one.acquire(user, "a", TTL)
    await own.two.acquire(TWO, "b", TTL)
    await own.one.settle([ONE, TWO])
    await asyncio.to_thread(own.server.kill)
    await own.one.shorten(ONE, "a", 0.1)
    await own.one.shorten(TWO, "a", 0.1)
    assert await own.one.acquire(three, "c", TTL)
    await asyncio.to_thread(own.server.start)
    heard: set[UUID] = set()

    async def hear() -> set[UUID]:
        heard.update(await told(own.one), await told(own.two))
        return heard

    await eventually(hear, {ONE, TWO, three})
    await eventually(lambda: own.two.online([ONE, TWO, three]), {TWO, three})
    await asyncio.sleep(0.6)
    assert (await told(own.one), await told(own.two)) == ([], [])


async def test_a_frozen_redis_misses_nothing(hasty: Nodes) -> None:
    await hasty.one.acquire(ONE, "a", TTL)
    await hasty.one.settle([ONE])
    hasty.server.freeze()
    await hasty.one.shorten(ONE, "a", 0.1)
    assert await hasty.two.acquire(TWO, "b", TTL)
    hasty.server.thaw()
    heard: set[UUID] = set()

    async def hear() -> set[UUID]:
        heard.update(await told(hasty.one), await told(hasty.two))
        return heard

    await eventually(hear, {ONE, TWO})
    await eventually(lambda: hasty.one.online([ONE, TWO]), {TWO})


async def test_a_long_outage_keeps_users_in_mind_and_not_every_socket(
    redis_server: EmbeddedRedis, redis_prefix: str
) -> None:
    async with running_nodes(redis_server, redis_prefix, PATIENT) as nodes:
        is_up = False
        leases = nodes.new(lambda: is_up)
        for number in range(100):
            await leases.acquire(ONE, f"{number}", 0.1)
            await leases.shorten(ONE, f"{number}", 0.0)
        await asyncio.sleep(0.15)
        assert await leases.expire() == [ONE]
        assert (leases._unended, leases._unheard) == ({}, {ONE})
        is_up = True
        await told(leases)
        await asyncio.sleep(0.6)
        assert await told(nodes.two) == [ONE]
        assert leases._unheard == set()
