"""The rate limit over nodes: exact with Redis, each node by itself without, and never slow."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from chatserver.backplane.redis_calls import PAUSE, TIMEOUT
from chatserver.backplane.redis_limits import RedisRateLimits
from chatserver.dev.redis import EmbeddedRedis
from chatserver.telemetry.metrics import Metrics
from tests.kit.leases import ONE, TWO
from tests.kit.patient import PATIENT
from tests.kit.redis import command
from tests.kit.stalls import PATIENCE


class Nodes:
    """The limiters of nodes that share a Redis, and what they count in common."""

    def __init__(self, server: EmbeddedRedis, prefix: str) -> None:
        self.server, self.prefix = server, prefix
        self.client: Redis = Redis.from_url(server.url)
        self.metrics = Metrics()
        self.is_available = True

    def new(self, limit: str, timeout: float = PATIENT) -> RedisRateLimits:
        return RedisRateLimits(
            limit,
            self.client,
            self.prefix,
            self.metrics,
            lambda: self.is_available,
            timeout=timeout,
        )

    async def pass_time(self, seconds: float) -> None:
        """As if every hit had been so much earlier."""
        for key in await self.client.keys(f"{self.prefix}:limits:*"):
            for number, hit in enumerate(await command(self.client, "LRANGE", key, 0, -1)):
                earlier = int(hit) - round(1000 * seconds)
                await command(self.client, "LSET", key, number, earlier)

    def fallbacks(self) -> float:
        content, _ = self.metrics.render(["text/plain"])
        lines = content.decode().splitlines()
        found = (line for line in lines if line.startswith("chat_rate_limit_fallback_total"))
        return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture
async def nodes(redis_server: EmbeddedRedis, redis_prefix: str) -> AsyncIterator[Nodes]:
    nodes = Nodes(redis_server, redis_prefix)
    with capture_logs() as logs:
        yield nodes
    await nodes.client.aclose()
    assert logs == [], "a call failed, though Redis was there"


@pytest.fixture
async def own(redis_prefix: str) -> AsyncIterator[Nodes]:
    """On a Redis that the test may stop."""
    async with EmbeddedRedis() as server:
        nodes = Nodes(server, redis_prefix)
        yield nodes
        await nodes.client.aclose()


async def test_the_sixty_first_of_a_minute_is_refused_over_all_nodes(nodes: Nodes) -> None:
    three = [nodes.new("60/minute") for _ in range(3)]
    answers = await asyncio.gather(*(three[number % 3].hit(ONE) for number in range(70)))
    refused = [answer for answer in answers if answer is not None]
    assert len(refused) == 10
    assert all(20 < seconds <= 60 for seconds in refused)
    assert await three[0].hit(TWO) is None
    assert nodes.fallbacks() == 0


async def test_a_window_slides_and_what_is_refused_does_not_count(nodes: Nodes) -> None:
    one, two = nodes.new("2/minute"), nodes.new("2/minute")
    assert await one.hit(ONE) is None
    await nodes.pass_time(30)
    assert await two.hit(ONE) is None
    wait = await one.hit(ONE)
    assert wait is not None
    assert 0 < wait <= 30
    for _ in range(5):
        assert await two.hit(ONE) is not None
    await nodes.pass_time(wait)
    assert await one.hit(ONE) is None
    assert await two.hit(ONE) is not None


async def test_a_node_whose_clock_is_wrong_does_no_harm(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = nodes.new("2/minute")
    with monkeypatch.context() as patch:
        wrong = SimpleNamespace(time=lambda: time.time() + 3600, monotonic=time.monotonic)
        patch.setattr("chatserver.backplane.redis_limits.time", wrong)
        patch.setattr("limits.aio.storage.redis.redispy.time", wrong)
        assert [await limits.hit(ONE), await limits.hit(ONE)] == [None, None]
        wait = await limits.hit(ONE)
    assert wait is not None
    assert 20 < wait <= 60
    await nodes.pass_time(60)
    assert await nodes.new("2/minute").hit(ONE) is None


async def test_keys_begin_with_the_prefix_and_go_by_themselves(nodes: Nodes) -> None:
    await nodes.new("2/minute").hit(ONE)
    (key,) = await nodes.client.keys(f"{nodes.prefix}:*")
    assert key.decode().startswith(f"{nodes.prefix}:limits:{{0}}:")
    assert 0 < await nodes.client.pttl(key) <= 60_000


async def test_without_a_limit_redis_is_not_asked(nodes: Nodes) -> None:
    limits = nodes.new("")
    assert [await limits.hit(ONE) for _ in range(100)] == [None] * 100
    assert await nodes.client.keys(f"{nodes.prefix}:*") == []


async def test_while_redis_is_away_the_node_counts_on(nodes: Nodes) -> None:
    one, two = nodes.new("3/minute"), nodes.new("3/minute")
    assert [await one.hit(ONE), await one.hit(ONE)] == [None, None]
    nodes.is_available = False
    assert await one.hit(ONE) is None
    wait = await one.hit(ONE)
    assert wait is not None
    assert 20 < wait <= 60
    assert await two.hit(ONE) is None
    assert nodes.fallbacks() == 3


async def test_who_was_refused_by_redis_is_not_punished_by_the_node(nodes: Nodes) -> None:
    one, two = nodes.new("2/minute"), nodes.new("2/minute")
    assert [await one.hit(ONE), await one.hit(ONE)] == [None, None]
    for _ in range(5):
        assert await two.hit(ONE) is not None
    nodes.is_available = False
    assert await two.hit(ONE) is None


async def test_a_frozen_redis_delays_one_moment_and_then_nobody(own: Nodes) -> None:
    """One of them waits each time: two would be more than the bounds."""
    await own.new("60/minute").hit(ONE)
    limits = own.new("60/minute", TIMEOUT)
    own.server.freeze()
    started = time.monotonic()
    assert await asyncio.gather(*(limits.hit(uuid4()) for _ in range(50))) == [None] * 50
    assert time.monotonic() - started >= TIMEOUT
    with capture_logs() as waits:
        started = time.monotonic()
        for _ in range(50):
            assert await limits.hit(uuid4()) is None
        took = time.monotonic() - started
    assert len(waits) <= took / PAUSE
    assert own.fallbacks() == 100
    own.server.thaw()
    async with asyncio.timeout(PATIENCE):
        before = 0.0
        while before != own.fallbacks():
            await asyncio.sleep(PAUSE)
            before = own.fallbacks()
            assert await limits.hit(ONE) is None


async def test_a_redis_that_was_killed_and_comes_back_counts_again(own: Nodes) -> None:
    limits = own.new("60/minute")
    await asyncio.to_thread(own.server.kill)
    assert await limits.hit(ONE) is None
    await asyncio.to_thread(own.server.start)
    await asyncio.sleep(1.1)
    assert await limits.hit(ONE) is None
    assert own.fallbacks() == 1


async def test_a_crowd_needs_few_commands_and_one_connection(nodes: Nodes) -> None:
    limits = nodes.new("60/minute")
    await limits.hit(ONE)
    stats = await nodes.client.info("commandstats")
    before = stats["cmdstat_evalsha"]["calls"]
    assert await asyncio.gather(*(limits.hit(uuid4()) for _ in range(400))) == [None] * 400
    stats = await nodes.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] - before <= 3


async def test_these_commands_and_keys_are_all_that_is_asked_of_redis(own: Nodes) -> None:
    commands = "evalsha eval time llen lindex lpush ltrim pexpire"
    grants = ["resetkeys", f"~{own.prefix}:limits:*", "-@all"]
    grants += [f"+{word}" for word in commands.split()]
    await command(own.client, "ACL SETUSER chat", "on", ">secret", *grants)
    client: Redis = Redis.from_url(own.server.url.replace("//", "//chat:secret@"))
    limits = RedisRateLimits("1/minute", client, own.prefix, own.metrics, timeout=PATIENT)
    assert await limits.hit(ONE) is None
    assert 20 < (await limits.hit(ONE) or 0) <= 60
    assert own.fallbacks() == 0
    await client.aclose()
