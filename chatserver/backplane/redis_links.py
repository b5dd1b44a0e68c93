"""Connections to Redis: one URL for a server, a Sentinel group or a Cluster.

    redis://user:password@host:6379/0
    redis+sentinel://user:password@host1:26379,host2:26379/0/name-of-the-master
    redis+cluster://user:password@host1:6379,host2:6379

and the same with `rediss` for TLS. The query may hold redis-py's options of a
connection (`ssl_ca_certs`, `ssl_check_hostname`, …), and for Sentinels that have a
password of their own `sentinel_username` and `sentinel_password`.
"""

from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    AbstractConnection,
    DefaultParser,
    SSLConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT: Final = 1.0
"""Seconds that connecting may take.

A command has no time of redis-py's: for that it uses `asyncio.wait_for`, which costs a
task for each command, and before Python 3.12 loses cancellations. Whoever runs a command
gives it its time.
"""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
# redis-py would try again by itself, for longer than anybody here waits.
_ONCE: Final = Retry(NoBackoff(), 0)

Client = Redis | RedisCluster
"""Both run commands and scripts; keys of one script share a hash tag."""


class _PushParser(DefaultParser):  # type: ignore[misc, valid-type]
    """Hands over what is pushed as it is; redis-py would print each of it for its log first."""

    async def handle_push_response(self, response: Any, **_: Any) -> Any:
        return response


class RedisLinks:
    """A client for commands, and connections of their own for what stays connected."""

    def __init__(self, url: str) -> None:
        """Connects to nobody yet. Raises ValueError for a URL that says too little."""
        parts = urlsplit(url)
        scheme, _, self._kind = parts.scheme.partition("+")
        self._hosts = _hosts(parts, _SENTINEL_PORT if self._kind == "sentinel" else _PORT)
        path = parts.path.strip("/").split("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._sentinel_options = {
            name: query.pop(f"sentinel_{name}")
            for name in ("username", "password")
            if f"sentinel_{name}" in query
        }
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self._options: dict[str, Any] = {
            **parse_url(f"{scheme}://{user}host/{path[0]}?{urlencode(query)}"),
            "retry": _ONCE,
            "socket_connect_timeout": TIMEOUT,
        }
        del self._options["host"]
        if self._kind == "cluster":
            self._options.pop("db", None)
        self._class: type[Connection] = self._options.pop("connection_class", Connection)
        self._master = path[1] if len(path) > 1 else ""
        if self._kind == "sentinel" and not self._master:
            raise ValueError("the URL of a Sentinel ends with the name of its master")
        self._opened: list[Redis] = []
        self.client = self._create_client()
        self._pools = self._create_pools()

    def connect(self) -> AbstractConnection:
        """A connection that has not connected yet and speaks RESP3, so that what is
        published arrives between the replies. Each call may choose another node."""
        connection: AbstractConnection = next(self._pools).make_connection()  # type: ignore[no-untyped-call]
        connection.set_parser(_PushParser)
        return connection

    async def close(self) -> None:
        for each in self._opened:
            await each.aclose(close_connection_pool=True)
        if isinstance(self.client, RedisCluster):
            await self.client.aclose()

    def _create_client(self) -> Client:
        if self._kind == "sentinel":
            return self._open(self._sentinel(self._options).master_for(self._master))
        if self._kind == "cluster":
            options = {**self._options}
            if self._is_tls:
                options["ssl"] = True
            return RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in self._hosts], **options
            )
        host, port = self._hosts[0]
        pool = ConnectionPool(self._class, host=host, port=port, **self._options)
        return self._open(Redis(connection_pool=pool))

    def _open(self, client: Redis) -> Redis:
        """`client`, which `close` will close."""
        self._opened.append(client)
        return client

    def _create_pools(self) -> Iterator[ConnectionPool]:
        """For `connect`. A Cluster carries what is published on one node to all others."""
        options = {**self._options, "protocol": 3}
        if self._kind == "sentinel":
            return cycle([self._sentinel(options).master_for(self._master).connection_pool])
        return cycle(
            [
                ConnectionPool(self._class, host=host, port=port, **options)
                for host, port in self._hosts
            ]
        )

    def _sentinel(self, options: dict[str, Any]) -> Sentinel:
        if self._is_tls:
            options = {**options, "ssl": True}
        # redis-py cannot read a Sentinel's answers in RESP3.
        own = {**options, "protocol": 2, "db": 0, "username": None, "password": None}
        own |= self._sentinel_options
        sentinel = Sentinel(self._hosts, sentinel_kwargs=own, **options)  # type: ignore[no-untyped-call]
        self._opened += sentinel.sentinels
        return sentinel

    @property
    def _is_tls(self) -> bool:
        return issubclass(self._class, SSLConnection)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        each = urlsplit(f"//{place}")
        hosts.append((each.hostname or "localhost", each.port or default_port))
    return hosts
