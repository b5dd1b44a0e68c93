"""The place of a run: nodes, their PostgreSQL and Redis, and a link of its own for each device."""

import asyncio
import socket
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.dev.redis import EmbeddedRedis
from tests.chaos.checker.plans import BY_BALANCER, DeviceSpec, Plan
from tests.chaos.checker.servers import Server
from tests.kit.balancer import HaProxyPlace
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy

TOGETHER = {"CHAT_SERVER_TRUSTED_PROXIES": "127.0.0.1", "CHAT_SERVER_DRAIN_DELAY": "1.5"}
"""What nodes behind HAProxy need; a drain is long enough for it to notice."""


class Link(Proxy):
    """A device's own way to the server: to the first of `ports`, or where it moved on to."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(("127.0.0.1", ports[0]))
        self._ports = deque(ports)

    def move_on(self) -> None:
        """Lead new connections to the next port."""
        self._ports.rotate(-1)
        self.upstream = ("127.0.0.1", self._ports[0])

    def half_close(self, *, by_client: bool) -> None:
        """Have one side believe that the other will send nothing more."""
        for link in list(self._links):
            writer = link._upstream if by_client else link._writer
            connection = None if writer is None else writer.get_extra_info("socket")
            if connection is not None:
                # Past asyncio, which would take it as the end of our own writing.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Node:
    """A server, and its own links to PostgreSQL and, with other nodes, to Redis."""

    server: Server
    database: Proxy
    redis: Proxy | None = None

    def heal(self) -> None:
        self.database.heal()
        if self.redis is not None:
            self.redis.heal()


@dataclass(frozen=True, slots=True)
class Site:
    """What a run happens on.

    `postgres` is None where PostgreSQL is not ours to restart; `redis` and `balancer`
    are None where there is one node. `links` are those of the devices.
    """

    database_url: str
    postgres: EmbeddedPostgres | None
    redis: EmbeddedRedis | None
    balancer: HaProxyPlace | None
    nodes: Sequence[Node]
    links: dict[str, Link]
    http: ClientSession

    @property
    def port(self) -> int:
        """Where users find the server, whichever node it is."""
        return self.nodes[0].server.port if self.balancer is None else self.balancer.port

    @property
    def ports(self) -> list[int]:
        """Of each node by itself."""
        return [node.server.port for node in self.nodes]

    @property
    def starts(self) -> int:
        """How often a server was started."""
        return sum(node.server.starts for node in self.nodes)

    @property
    def was_a_clock_ahead(self) -> bool:
        """At any time until now, of any node."""
        return any(node.server.was_ahead for node in self.nodes)

    def read_log(self) -> str:
        """What all nodes have written."""
        return "".join(node.server.log.read_text() for node in self.nodes)

    async def end_balancer(self) -> None:
        """And with it the connections that it keeps open for the next request."""
        if self.balancer is not None:
            await self.balancer.close()

    def heal(self) -> None:
        """Let every link pass everything again."""
        for link in self.links.values():
            link.heal()
        for node in self.nodes:
            node.heal()


@asynccontextmanager
async def running_site(
    database_url: str,
    plan: Plan,
    log: Path,
    *,
    postgres: EmbeddedPostgres | None = None,
    faults: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """The nodes of `plan` on a migrated database, reached by proxies, and a link for each device.

    The first node writes to `log`, the others to files beside it. `settings` are CHAT_
    variables for all of them.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            ClientSession(
                connector=TCPConnector(limit=0, force_close=True), cookie_jar=DummyCookieJar()
            )
        )
        redis = None
        if plan.shape.nodes > 1:
            redis = await stack.enter_async_context(EmbeddedRedis())
        nodes = []
        for number in range(plan.shape.nodes):
            file = log if number == 0 else log.with_stem(f"{log.stem}-{number + 1}")
            nodes.append(await _add_node(stack, database_url, redis, file, faults, settings or {}))
            stack.callback(nodes[-1].server.kill)
        await asyncio.gather(*(node.server.start(http) for node in nodes))
        balancer = None
        if plan.shape.nodes > 1:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            balancer = HaProxyPlace([node.server.port for node in nodes], directory)
            stack.push_async_callback(balancer.close)
            await balancer.start()
        site = Site(database_url, postgres, redis, balancer, nodes, {}, http)
        for spec in plan.devices:
            link = site.links[spec.name] = Link(_ports(site, spec))
            await link.start()
            stack.push_async_callback(link.close)
        yield site


async def _add_node(
    stack: AsyncExitStack,
    database_url: str,
    redis: EmbeddedRedis | None,
    log: Path,
    faults: Sequence[str],
    common: Mapping[str, str],
) -> Node:
    """One that is not started yet."""
    database = await stack.enter_async_context(running_proxy(postgres_upstream(database_url)))
    settings = {**common, "CHAT_DATABASE_URL": database.url(database_url)}
    if redis is None:
        return Node(Server(settings, log, faults), database)
    link = await stack.enter_async_context(running_proxy(("127.0.0.1", redis.port)))
    settings |= {"CHAT_REDIS_URL": link.url(redis.url), **TOGETHER}
    return Node(Server(settings, log, faults), database, link)


def _ports(site: Site, spec: DeviceSpec) -> list[int]:
    """Where the device connects, and then where when that is gone."""
    if spec.node == BY_BALANCER:
        return [site.port]
    return site.ports[spec.node :] + site.ports[: spec.node]
