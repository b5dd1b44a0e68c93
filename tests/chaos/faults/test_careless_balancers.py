"""Fault 11: a load balancer without stickiness. Websockets work; polling hears why not."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.chaos.faults.load_generator import LoadGenerator, over_socket, p99, slowest
from tests.chaos.faults.records import Figure, linger, record
from tests.chaos.faults.sites import Site, running_site, until
from tests.kit.balancer import CARELESS, running_haproxy
from tests.kit.postgres import Databases
from tests.system.e2e.node_client import NodeClient, running_node_client

pytestmark = pytest.mark.asyncio(loop_scope="package")

UNKNOWN = {"code": 1, "message": "Session ID unknown"}

SENT = 1.0
"""Seconds: 99 of 100 sends are acknowledged by then, as behind any balancer."""

FORGOTTEN = 20.0
"""Seconds after which nothing is left of a session that came to nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Behind a balancer that gives each request to the next node."""
    directory = tmp_path_factory.mktemp("site")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(databases.migrated())
        site = await stack.enter_async_context(running_site(url, directory))
        ports = [node.port for node in site.nodes]
        careless = await stack.enter_async_context(running_haproxy(ports, directory, CARELESS))
        site.cluster.set_balancer(careless)
        yield site


@pytest_asyncio.fixture(loop_scope="package")
async def js() -> AsyncIterator[NodeClient]:
    async with running_node_client() as client:
        yield client


async def test_websockets_work_and_polling_is_told_why_it_does_not(
    site: Site, load: LoadGenerator, js: NodeClient
) -> None:
    """Virtual users, the real client's websockets and its polls: all by that balancer."""
    with load.window() as window:
        websockets = []
        for chat in load.chats:
            socket = await js.connected(site.url, chat.landlord, transports=["websocket"])
            load.start_sender(chat, over_socket(socket, chat))
            websockets.append(socket)
        polls = [
            await js.open(site.url, chat.tenant, transports=["polling"]) for chat in load.chats
        ]
        for poll in polls:
            await poll.heard("connect_error", 3)
        await linger(1)
        assert not await no_polls_are_left(site)
    for poll in polls:
        await poll.close()
    forgotten = await until(lambda: no_polls_are_left(site))
    await load.settle()
    sends = load.overlapping(window)
    refusals = [refusal for poll in polls for refusal in poll.of("connect_error")]
    assert {refusal["status"] for refusal in refusals} == {400}
    assert [json.loads(refusal["text"]) for refusal in refusals] == [UNKNOWN] * len(refusals)
    record(
        11,
        "a load balancer without stickiness",
        sends,
        Figure("failed sends", sum(send.attempts > 1 for send in sends), 0, unit=""),
        Figure("p99 of the acknowledgement", p99(sends), SENT),
        Figure("longest send", slowest(sends)),
        Figure("polls answered 400", len(refusals), unit=""),
        Figure("their sessions gone after", forgotten, FORGOTTEN),
    )
    assert load.away(window) == [], "nobody lost the connection"
    assert not any(socket.of("disconnect") for socket in websockets)


async def no_polls_are_left(site: Site) -> bool:
    name = 'chat_engineio_connections{transport="polling"}'
    return sum([await site.metric(node, name) for node in range(len(site.nodes))]) == 0
