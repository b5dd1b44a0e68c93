"""A cluster of which everything can be broken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatserver.dev.redis import EmbeddedRedis
from tests.kit.cluster import Cluster, ClusterNode, running_cluster

NODES = 3


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


@asynccontextmanager
async def running_site(database_url: str, directory: Path, **settings: Any) -> AsyncIterator[Site]:
    """On a migrated database; `settings` are for all nodes, as `running_cluster` takes them."""
    async with (
        EmbeddedRedis() as redis,
        running_cluster(
            database_url, redis.url, directory, nodes=NODES, has_proxies=True, **settings
        ) as cluster,
    ):
        yield Site(cluster, redis, database_url)
