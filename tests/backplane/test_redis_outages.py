"""Presence leases while Redis is frozen, killed or emptied, and when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from chatserver.backplane.leases import TooManyLeases
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.leases import ONE, PATIENT, TTL, TWO, Nodes, running_nodes, told


@pytest.fixture
async def own(redis_prefix: str) -> AsyncIterator[Nodes]:
    """Nodes on a Redis that the test may stop."""
    async with EmbeddedRedis() as server, running_nodes(server, redis_prefix) as nodes:
        await nodes.one.expire()
        await nodes.two.expire()
        yield nodes


async def eventually(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Until `ask` answers what is wanted; a node asks as often as its tick does."""
    async with asyncio.timeout(8):
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
    own: Nodes, fault: str
) -> None:
    await own.one.acquire(ONE, "a", TTL)
    await asyncio.to_thread(getattr(own.server, fault))
    started = time.monotonic()
    assert await own.one.acquire(TWO, "b", TTL, 2)
    assert not await own.one.acquire(TWO, "c", TTL, 2)
    with pytest.raises(TooManyLeases):
        await own.one.acquire(TWO, "d", TTL, 2)
    assert await own.one.online([ONE, TWO]) == {ONE, TWO}
    await own.one.renew([(ONE, "a")], TTL)
    await own.one.shorten(ONE, "a", 0.0)
    assert await own.one.expire() == [ONE]
    await own.one.settle([ONE])
    assert await own.one.online([ONE, TWO]) == {TWO}
    assert time.monotonic() - started < 0.6
    assert not own.client.connection_pool._in_use_connections


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


async def test_a_frozen_redis_misses_nothing(own: Nodes) -> None:
    await own.one.acquire(ONE, "a", TTL)
    await own.one.settle([ONE])
    own.server.freeze()
    await own.one.shorten(ONE, "a", 0.1)
    assert await own.two.acquire(TWO, "b", TTL)
    own.server.thaw()
    heard: set[UUID] = set()

    async def hear() -> set[UUID]:
        heard.update(await told(own.one), await told(own.two))
        return heard

    await eventually(hear, {ONE, TWO})
    assert await own.one.online([ONE, TWO]) == {TWO}


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
