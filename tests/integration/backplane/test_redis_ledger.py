"""The ledger on Redis: what one node spent, the others know; without Redis each counts alone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from chatserver.backplane.buckets import Buckets
from chatserver.backplane.redis_calls import MAX_BATCH, Client
from chatserver.backplane.redis_ledger import RedisLedger
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.patient import PATIENT
from tests.kit.redis import command


class Node:
    """The buckets of a node, and what settles them; 60 units are an hour's."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.is_available = True
        self.buckets = Buckets[str]("60/hour")
        self.ledger = RedisLedger(client, prefix, lambda: self.is_available, timeout=PATIENT)

    async def settle(self) -> bool:
        return await self.ledger.settle("user", self.buckets)

    def left(self, key: str = "ann") -> int:
        return round(60 * (1 - self.buckets.spent_part(key)))


@pytest.fixture
async def client(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_server.url)
    yield client
    await client.aclose()


async def test_nodes_learn_what_the_others_have_spent(client: Redis, redis_prefix: str) -> None:
    nodes = [Node(client, redis_prefix) for _ in range(3)]
    for node in nodes:
        node.buckets.charge("ann", 10)
        assert await node.settle()
    assert [node.left() for node in nodes] == [50, 40, 30]
    nodes[0].buckets.charge("ann", 5)
    assert await nodes[0].settle()
    assert nodes[0].left() == 25
    assert nodes[0].left("bob") == 60


async def test_what_was_given_back_is_given_back_everywhere(
    client: Redis, redis_prefix: str
) -> None:
    one, two = Node(client, redis_prefix), Node(client, redis_prefix)
    one.buckets.charge("ann", 30)
    assert await one.settle()
    one.buckets.refund("ann", 20)
    assert await one.settle()
    two.buckets.charge("ann", 10)
    assert await two.settle()
    assert (one.left(), two.left()) == (50, 40)


async def test_what_is_paid_is_gone_by_itself(client: Redis, redis_prefix: str) -> None:
    node = Node(client, redis_prefix)
    node.buckets.charge("ann", 30)
    await node.settle()
    (key,) = await client.keys(f"{redis_prefix}:*")
    assert key.decode() == f"{redis_prefix}:budget:{{0}}:user:ann"
    assert 1_790_000 < await client.pttl(key) <= 1_800_000


async def test_a_thousand_are_settled_by_five_calls(client: Redis, redis_prefix: str) -> None:
    node = Node(client, redis_prefix)
    node.buckets.charge("ann", 10)
    await node.settle()
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    for number in range(1000):
        node.buckets.charge(f"user {number}", 10)
    assert await node.settle()
    calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    assert calls == 1000 / MAX_BATCH
    assert len(await client.keys(f"{redis_prefix}:*")) == 1001


async def test_while_redis_is_away_a_node_counts_alone_and_tells_it_later(
    client: Redis, redis_prefix: str
) -> None:
    one, two = Node(client, redis_prefix), Node(client, redis_prefix)
    one.is_available = False
    one.buckets.charge("ann", 20)
    assert not await one.settle()
    assert one.left() == 40
    one.is_available = True
    assert await one.settle()
    two.buckets.charge("ann", 10)
    assert await two.settle()
    assert two.left() == 30


async def test_a_redis_that_lost_everything_forgives_nobody(
    client: Redis, redis_prefix: str
) -> None:
    node = Node(client, redis_prefix)
    node.buckets.charge("ann", 50)
    await node.settle()
    for key in await client.keys(f"{redis_prefix}:*"):
        await client.delete(key)
    node.buckets.charge("ann", 5)
    assert await node.settle()
    assert node.left() == 5


async def test_these_commands_and_keys_are_all_that_is_asked_of_redis(redis_prefix: str) -> None:
    async with EmbeddedRedis() as server:
        admin: Redis = Redis.from_url(server.url)
        grants = ["resetkeys", f"~{redis_prefix}:budget:*", "-@all"]
        grants += [f"+{word}" for word in ["evalsha", "eval", "time", "get", "set"]]
        await command(admin, "ACL SETUSER chat", "on", ">secret", *grants)
        client: Redis = Redis.from_url(server.url.replace("//", "//chat:secret@"))
        node = Node(client, redis_prefix)
        node.buckets.charge("ann", 10)
        assert await node.settle()
        await asyncio.gather(client.aclose(), admin.aclose())
