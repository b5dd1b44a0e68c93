"""Several nodes with a Redis between them, behind HAProxy with the shipped configuration."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.databases import make_product_database
from bench.dialects import SocketIO
from bench.targets import (
    Launch,
    Running,
    Target,
    TargetError,
    product,
    running,
)
from chatserver.dev.balancers import find_haproxy, haproxy_config
from chatserver.dev.ports import free_port
from chatserver.dev.redis import EmbeddedRedis


def nodes(count: int) -> Launch:
    """`count` nodes. What counts is their CPU, not that of Redis and of HAProxy."""

    @asynccontextmanager
    async def launch(url: str, logs: Path) -> AsyncIterator[Running]:
        async with EmbeddedRedis() as redis, AsyncExitStack() as stack:
            node = product(CHAT_REDIS_URL=redis.url)
            started = [await stack.enter_async_context(node(url, logs)) for _ in range(count)]
            pids = [pid for each in started for pid in each.pids]
            ports = [each.port for each in started]
            if count == 1:
                yield Running(ports[0], pids, ports)
                return
            port = await stack.enter_async_context(_balancer(ports, logs))
            yield Running(port, pids, ports)

    return launch


@asynccontextmanager
async def _balancer(ports: list[int], logs: Path) -> AsyncIterator[int]:
    program = find_haproxy()
    if program is None:
        raise TargetError("several nodes need HAProxy: apt-get install haproxy")
    port = free_port()
    config = logs / f"haproxy-{port}.cfg"
    config.write_text(haproxy_config(port, ports))
    log = logs / f"haproxy-{port}.log"
    async with running([program, "-db", "-f", str(config)], {}, port, log):
        yield port


MESSAGES = frozenset({"throughput", "fanout"})

CLUSTERS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(f"nodes-{count}", title, SocketIO(), make_product_database, nodes(count), sections)
        for count, title, sections in (
            (1, "one node of this server, with Redis", MESSAGES),
            (2, "two nodes with Redis behind HAProxy", MESSAGES),
            (4, "four nodes with Redis behind HAProxy", MESSAGES),
            (8, "eight nodes with Redis behind HAProxy", frozenset({"fanout"})),
        )
    )
}
