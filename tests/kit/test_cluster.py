"""The kit's cluster: nodes that die and come back, and lose their parts one by one."""

import asyncio
from pathlib import Path

from aiohttp import ClientSession

from chatserver.dev.redis import EmbeddedRedis
from tests.kit.clients import TIMEOUT, Rest
from tests.kit.cluster import running_cluster


async def test_a_killed_node_comes_back_at_its_place(database_url: str, tmp_path: Path) -> None:
    async with (
        EmbeddedRedis() as redis,
        running_cluster(database_url, redis.url, tmp_path, nodes=2) as cluster,
        ClientSession() as http,
    ):
        balanced = Rest(http, cluster.balancer.base_url)
        assert (await balanced.get("/healthz")).status == 200
        first = cluster.nodes[0]
        pid = first.server.process.pid
        first.kill()
        assert (await balanced.get("/healthz")).status == 200
        await first.restart()
        assert first.server.process.pid != pid
        assert (await Rest(http, first.base_url).get("/healthz")).status == 200


async def test_one_node_alone_can_lose_the_database(database_url: str, tmp_path: Path) -> None:
    async with (
        EmbeddedRedis() as redis,
        running_cluster(
            database_url, redis.url, tmp_path, nodes=2, has_proxies=True, has_balancer=False
        ) as cluster,
        ClientSession() as http,
    ):
        first, second = (Rest(http, node.base_url) for node in cluster.nodes)
        cluster.nodes[0].database.refuse()
        await until_ready(first, 503)
        await until_ready(second, 200)
        cluster.nodes[0].database.heal()
        await cluster.nodes[0].server.wait_ready()


async def until_ready(rest: Rest, status: int) -> None:
    """Until /readyz answers that: what it says may be half a second old."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            if (await rest.get("/readyz")).status == status:
                break
            await asyncio.sleep(0.05)


async def test_the_balancer_gives_nothing_to_a_node_that_is_set_aside(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        running_cluster(database_url, None, tmp_path, nodes=2) as cluster,
        ClientSession() as http,
    ):
        balancer = cluster.balancer
        rest = Rest(http, balancer.base_url)
        await balancer.set_state(0, "maint")
        async with asyncio.timeout(TIMEOUT):
            while await balancer.states() != ["MAINT", "UP"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        before = balancer.log.count("nodes/chat1 ")
        for _ in range(6):
            assert (await rest.get("/nothing")).status == 404
        log = await balancer.logged("nodes/chat2 404")
        assert log.count("nodes/chat1 ") == before
        await balancer.set_state(0, "ready")
        async with asyncio.timeout(TIMEOUT):
            while "nodes/chat1 404" not in balancer.log:
                assert (await rest.get("/nothing")).status == 404
