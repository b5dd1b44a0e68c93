"""Several nodes, and all that can come between them.

async with running_cluster(database_url, redis_url, tmp_path) as cluster:
    cluster.nodes[0].base_url        # one node; cluster.balancer.base_url: all of them
    cluster.nodes[0].kill()          # SIGKILL; terminate() and exit_code() for SIGTERM
    await cluster.nodes[0].restart() # at the same port
    cluster.nodes[1].redis.blackhole()      # with has_proxies=True: this node alone
    cluster.nodes[1].database.reset()       # loses Redis, or PostgreSQL
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from chatserver.dev.ports import free_port
from tests.kit.balancer import HaProxy, running_haproxy
from tests.kit.processes import ServerProcess, serving
from tests.kit.proxy import Proxy, Upstream, postgres_upstream, running_proxy
from tests.kit.stalls import PATIENCE


class ClusterNode:
    """A place for a `chatserver serve`: the same port and settings, whichever process runs.

    `settings` (as `serving` takes them) may be changed before `restart`.
    """

    def __init__(
        self,
        database_url: str,
        directory: Path,
        settings: dict[str, Any],
        database: Proxy | None,
        redis: Proxy | None,
    ) -> None:
        self.port = free_port()
        self.settings = settings
        self._database = database
        self._redis = redis
        self._database_url = database_url
        self._directory = directory
        self._stack = AsyncExitStack()
        self._server: ServerProcess | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def server(self) -> ServerProcess:
        """The process that runs, or ran last."""
        assert self._server is not None
        return self._server

    @property
    def database(self) -> Proxy:
        """Between this node and PostgreSQL; only with `has_proxies`."""
        assert self._database is not None
        return self._database

    @property
    def redis(self) -> Proxy:
        """Between this node and Redis; only with `has_proxies` and a Redis."""
        assert self._redis is not None
        return self._redis

    @property
    def log(self) -> str:
        """Output of the process."""
        return self.server.log

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._server = await self._stack.enter_async_context(
            serving(self._database_url, self.port, self._directory, **self.settings)
        )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.server.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self.server.terminate()

    async def exit_code(self, seconds: float = PATIENCE) -> int:
        return await self.server.exit_code(seconds)

    async def restart(self) -> None:
        """A new process in the place of the one that has ended (or is killed now); ready."""
        await self._stack.aclose()
        await self.start()

    async def close(self) -> None:
        await self._stack.aclose()


class Cluster:
    """`balancer` is in front of all nodes; its `base_url` is what users know."""

    def __init__(self, nodes: list[ClusterNode]) -> None:
        self.nodes = nodes
        self._balancer: HaProxy | None = None

    @property
    def balancer(self) -> HaProxy:
        """Only with `has_balancer`."""
        assert self._balancer is not None
        return self._balancer

    def set_balancer(self, balancer: HaProxy) -> None:
        self._balancer = balancer


@asynccontextmanager
async def running_cluster(
    database_url: str,
    redis_url: str | None,
    directory: Path,
    *,
    nodes: int = 3,
    has_balancer: bool = True,
    has_proxies: bool = False,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """So many production nodes on a migrated database, all ready; killed at the end.

    `redis_url` None: they know nothing of each other. `settings` are for all nodes, as
    `serving` takes them; without others there is no rate limit and no drain delay.
    """
    common = {"server__trusted_proxies": "127.0.0.1", **settings}
    async with AsyncExitStack() as stack:
        places = [
            await _place(stack, database_url, redis_url, directory, dict(common), has_proxies)
            for _ in range(nodes)
        ]
        for place in places:
            stack.push_async_callback(place.close)
        await asyncio.gather(*(place.start() for place in places))
        cluster = Cluster(places)
        if has_balancer:
            ports = [place.port for place in places]
            haproxy = await stack.enter_async_context(running_haproxy(ports, directory))
            cluster.set_balancer(haproxy)
        yield cluster


async def _place(
    stack: AsyncExitStack,
    database_url: str,
    redis_url: str | None,
    directory: Path,
    settings: dict[str, Any],
    has_proxies: bool,
) -> ClusterNode:
    database = redis = None
    if has_proxies:
        upstream = postgres_upstream(database_url)
        database = await stack.enter_async_context(running_proxy(upstream))
        database_url = database.url(database_url)
    if redis_url is not None:
        if has_proxies:
            redis = await stack.enter_async_context(running_proxy(_redis_upstream(redis_url)))
            redis_url = redis.url(redis_url)
        settings["redis__url"] = redis_url
    return ClusterNode(database_url, directory, settings, database, redis)


def _redis_upstream(redis_url: str) -> Upstream:
    url = make_url(redis_url)
    return url.host or "127.0.0.1", url.port or 6379
