"""Leases, limits and the ledger on a Redis Cluster of three masters."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio.cluster import RedisCluster

from chatserver.backplane.leases import TooManyLeases
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.backplane.redis_limits import RedisRateLimits
from chatserver.telemetry.metrics import Metrics
from tests.integration.backplane.test_redis_ledger import Node
from tests.kit.leases import TTL, told
from tests.kit.patient import PATIENT
from tests.kit.redis import running_redis_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[RedisCluster]:
    async with (
        running_redis_cluster() as servers,
        RedisCluster.from_url(servers[0].url) as client,
    ):
        yield client


async def test_leases_limits_and_the_ledger_work_on_a_cluster(
    cluster: RedisCluster, redis_prefix: str
) -> None:
    one, two = (RedisLeases(cluster, redis_prefix, timeout=PATIENT) for _ in range(2))
    users = [uuid4() for _ in range(200)]
    assert all(await asyncio.gather(*(one.acquire(user, "a", TTL, 1) for user in users)))
    with pytest.raises(TooManyLeases):
        await two.acquire(users[0], "b", TTL, 1)
    await one.settle(users)
    assert await two.online(users) == set(users)
    await one.renew([(user, "a") for user in users], TTL)
    await asyncio.gather(*(one.shorten(user, "a", 0.1) for user in users))
    await asyncio.sleep(0.15)
    assert sorted(await told(two)) == sorted(users)
    assert (await told(one), await two.online(users)) == ([], set())

    metrics = Metrics()
    nodes = [
        RedisRateLimits("10/minute", cluster, redis_prefix, metrics, timeout=PATIENT)
        for _ in range(2)
    ]
    for user in users[:20]:
        answers = await asyncio.gather(*(nodes[number % 2].hit(user) for number in range(12)))
        assert answers.count(None) == 10

    spender, other = (Node(cluster, redis_prefix) for _ in range(2))
    for user in users:  # more than one call's worth, on every shard
        spender.buckets.charge(str(user), 20)
        other.buckets.charge(str(user), 10)
    assert await spender.settle()
    assert await other.settle()
    assert {other.left(str(user)) for user in users} == {30}

    keys = [key async for key in cluster.scan_iter(f"{redis_prefix}:*")]
    places = {cluster.get_node_from_key(key.decode()) for key in keys}
    assert len(places) == 3, "the shards are spread over all masters"
