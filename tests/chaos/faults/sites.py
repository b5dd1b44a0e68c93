"""A cluster of which everything can be broken."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import ClientError, ClientSession

from chatserver.dev.redis import EmbeddedRedis
from tests.kit.cluster import Cluster, ClusterNode, running_cluster

NODES = 3

BUDGETS = "FAULTS_BUDGETS"
"""The environment variable with which the budgets of users and addresses stay on."""

WITHOUT_BUDGETS = {"rate_limit__user": "", "rate_limit__address": ""}

PATIENCE = 60.0
"""Seconds after which a test gives up. What is promised sooner is a figure of its record."""

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """Three nodes with a proxy before their PostgreSQL and their Redis, behind HAProxy.

    `redis` is theirs alone; `database_url` leads past the proxies.
    """

    cluster: Cluster
    redis: EmbeddedRedis
    database_url: str

    @property
    def nodes(self) -> list[ClusterNode]:
        return self.cluster.nodes

    @property
    def url(self) -> str:
        """HAProxy's, which users know."""
        return self.cluster.balancer.base_url

    async def readiness(self) -> list[int]:
        """As `ready_status`, of one after the other."""
        return [await self.ready_status(index) for index in range(len(self.nodes))]

    async def ready_status(self, node: int) -> int:
        """What its /readyz answers; 0 where nobody does."""
        url = f"{self.nodes[node].base_url}/readyz"
        with suppress(OSError, ClientError):
            async with ClientSession() as http, http.get(url) as response:
                return response.status
        return 0

    async def metric(self, node: int, name: str) -> float:
        """The sum of all whose name, with labels or without, begins so."""
        url = f"{self.nodes[node].base_url}/metrics"
        async with ClientSession() as http, http.get(url) as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> float:
    """Ask until it is so: how many seconds that took."""
    began_at = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began_at


async def timed(doing: Awaitable[T]) -> tuple[T, float]:
    """What comes of it, and after how many seconds."""
    began_at = time.monotonic()
    return await doing, time.monotonic() - began_at


@asynccontextmanager
async def running_site(database_url: str, directory: Path, **settings: Any) -> AsyncIterator[Site]:
    """On a migrated database; `settings` are for all nodes, as `running_cluster` takes them."""
    async with (
        EmbeddedRedis() as redis,
        running_cluster(
            database_url,
            redis.url,
            directory,
            nodes=NODES,
            has_proxies=True,
            **{**({} if BUDGETS in os.environ else WITHOUT_BUDGETS), **settings},
        ) as cluster,
    ):
        yield Site(cluster, redis, database_url)
