"""Nodes behind one of the load balancers, and clients of every kind and address."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, CookieJar, DummyCookieJar, TCPConnector

from tests.kit.balancer import Balancer, HaProxy, running_haproxy, running_nginx
from tests.kit.clients import Chat, Rest, open_chat
from tests.kit.cluster import Cluster, ClusterNode, running_cluster

BALANCERS = ("haproxy", "nginx")

SOONEST_HEARTBEAT = 20.0
"""Seconds after which no silent client is gone yet for its heartbeat alone."""


@dataclass(frozen=True)
class Site:
    """Two nodes behind both balancers, and a chat of two people."""

    cluster: Cluster
    balancers: dict[str, Balancer]
    database_url: str
    chat: Chat

    @property
    def nodes(self) -> list[ClusterNode]:
        return self.cluster.nodes

    @property
    def haproxy(self) -> HaProxy:
        haproxy = self.balancers["haproxy"]
        assert isinstance(haproxy, HaProxy)
        return haproxy


@asynccontextmanager
async def running_site(
    database_url: str, directory: Path, nodes: int = 2, **settings: Any
) -> AsyncIterator[Site]:
    async with running_cluster(
        database_url, None, directory, nodes=nodes, has_balancer=False, **settings
    ) as cluster:
        ports = [node.port for node in cluster.nodes]
        async with (
            running_haproxy(ports, directory) as haproxy,
            running_nginx(ports, directory) as nginx,
            ClientSession() as http,
        ):
            chat = await open_chat(Rest(http, cluster.nodes[0].base_url), database_url)
            balancers: dict[str, Balancer] = {"haproxy": haproxy, "nginx": nginx}
            yield Site(cluster, balancers, database_url, chat)


def client_at(address: str, *, keeps_cookies: bool = False) -> ClientSession:
    """Whoever connects from that address of this machine (127.x.x.x)."""
    # An ordinary jar takes no cookie of a host that has no name.
    jar = CookieJar(unsafe=True) if keeps_cookies else DummyCookieJar()
    return ClientSession(connector=TCPConnector(local_addr=(address, 0)), cookie_jar=jar)


async def handshake(http: ClientSession, base_url: str, **headers: str) -> str:
    """A new polling session: its sid."""
    url = f"{base_url}/socket.io/?EIO=4&transport=polling"
    async with http.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        sid: str = json.loads((await response.text()).removeprefix("0"))["sid"]
        return sid


async def post(http: ClientSession, base_url: str, sid: str, packet: str = "40") -> int:
    """Send a packet in that session: the status."""
    url = f"{base_url}/socket.io/?EIO=4&transport=polling&sid={sid}"
    async with http.post(url, data=packet) as response:
        return response.status


async def home_of(site: Site, sid: str) -> int:
    """The index of the node that has the session."""
    async with ClientSession() as http:
        for index, node in enumerate(site.nodes):
            # A noop is taken, and changes nothing.
            if await post(http, node.base_url, sid, "6") == 200:
                return index
    raise AssertionError("no node knows the session")


async def is_gone_after_its_poll(site: Site, balancer: Balancer) -> bool:
    """Whether a polling client's session ends soon after the connection of its poll."""
    connect = "40" + json.dumps({"token": site.chat.tenant.token()})
    async with client_at("127.0.0.1") as http:
        sid = await handshake(http, balancer.base_url)
        home = site.nodes[await home_of(site, sid)].base_url
        assert await post(http, balancer.base_url, sid, connect) == 200
        poll = f"{balancer.base_url}/socket.io/?EIO=4&transport=polling&sid={sid}"
        async with http.get(poll) as answer:
            assert (await answer.text()).startswith("40")
        with suppress(TimeoutError):
            await http.get(poll, timeout=ClientTimeout(1.0))
        deadline = time.monotonic() + SOONEST_HEARTBEAT
        while time.monotonic() < deadline:
            if await post(http, home, sid, "6") == 400:
                return True
            await asyncio.sleep(0.05)
    return False
