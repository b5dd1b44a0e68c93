"""HAProxy and nginx with the configurations that we ship, when nodes drain, die and return."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.kit.balancer import Balancer
from tests.kit.clients import TIMEOUT, Rest
from tests.kit.cluster import ClusterNode
from tests.kit.postgres import Databases
from tests.system.e2e.balanced import (
    BALANCERS,
    Site,
    client_at,
    handshake,
    home_of,
    post,
    running_site,
)
from tests.system.e2e.node_client import JsSocket, NodeClient

DRAIN_DELAY = 30.0
"""Seconds; a test ends it by a second signal, when it has seen enough."""

SERVES_ON = 3.0
"""Seconds; longer than in production, so that what comes too late is seen."""

NGINX_FORGETS = 4.1
"""Seconds until it tries a node again that did not answer: more than `fail_timeout`, which
it counts in whole ones."""


@pytest.fixture(scope="module")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with databases.migrated() as url:
        directory = tmp_path_factory.mktemp("site")
        # The load is more than a user may cost.
        budgets: dict[str, Any] = {"rate_limit__user": "", "rate_limit__address": ""}
        async with running_site(url, directory, server__drain_delay=DRAIN_DELAY, **budgets) as site:
            yield site


@pytest.fixture(params=BALANCERS)
def balancer(site: Site, request: pytest.FixtureRequest) -> Balancer:
    return site.balancers[request.param]


async def until_up(site: Site, balancer: Balancer) -> None:
    """Both nodes run, and the balancer has noticed."""
    await until(site, lambda states: states == ["UP", "UP"])
    if balancer is not site.haproxy:
        await asyncio.sleep(NGINX_FORGETS)


async def until(site: Site, wanted: Callable[[list[str]], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            if wanted(await site.haproxy.states()):
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def rest_load(site: Site, balancer: Balancer) -> AsyncIterator[list[int]]:
    """Sends and reads meanwhile, one after the other: with which status each ended."""
    answers: list[int] = []

    async def keep_calling() -> None:
        chat = site.chat
        async with ClientSession() as http:
            rest = Rest(http, balancer.base_url)
            while True:
                answers.append((await rest.send(chat.tenant, chat.id, content="hello")).status)
                answers.append((await rest.get("unread-count", chat.landlord)).status)

    calling = [asyncio.create_task(keep_calling()) for _ in range(3)]
    try:
        yield answers
        for task in calling:
            assert not task.done(), task.exception()
    finally:
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)


async def test_while_a_node_drains_and_ends_no_request_fails(
    site: Site, balancer: Balancer
) -> None:
    await until_up(site, balancer)
    leaving = site.nodes[0]
    async with rest_load(site, balancer) as answers:
        await asyncio.sleep(0.5)
        leaving.terminate()
        await asyncio.sleep(SERVES_ON)
        await end_now(leaving)
        await asyncio.sleep(0.5)
        await leaving.restart()
        await asyncio.sleep(1.5)
    assert set(answers) == {200, 201}


async def end_now(leaving: ClusterNode) -> None:
    """A second signal, which skips what is left of the delay."""
    await leaving.server.wait_draining()
    leaving.terminate()
    assert await leaving.exit_code() == 0


async def goes_on(socket: JsSocket) -> None:
    """It is answered, after it has come back by itself if its node is gone."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            with suppress(RuntimeError):  # it was lost just then
                assert await socket.code("nonsense", {}) == "unknown_event"
                return


async def test_haproxy_sends_nothing_new_to_a_draining_node_and_keeps_what_it_has(
    js: NodeClient, site: Site
) -> None:
    await until_up(site, site.haproxy)
    base_url, leaving = site.haproxy.base_url, site.nodes[0]
    async with client_at("127.0.0.1", keeps_cookies=True) as http:
        http.headers["Cookie"] = "chat_node=chat1"
        sid = await handshake(http, base_url)
        sockets = [
            await js.connected(base_url, site.chat.tenant, transports=["websocket"])
            for _ in range(4)
        ]
        leaving.terminate()
        await until(site, lambda states: states[0] == "DOWN")
        # What was there goes on: a polling session, and websockets.
        assert await post(http, base_url, sid, "6") == 200
        for socket in sockets:
            assert await socket.code("nonsense", {}) == "unknown_event"
            assert not socket.of("disconnect")
        # What is new goes to the other node, with the old cookie too.
        for _ in range(4):
            assert await home_of(site, await handshake(http, base_url)) == 1
            async with http.get(f"{base_url}/readyz") as response:
                assert response.status == 200
        assert leaving.server.process.poll() is None
    await end_now(leaving)
    for socket in sockets:
        await goes_on(socket)
    await leaving.restart()


async def test_when_a_node_is_killed_new_requests_go_elsewhere(
    js: NodeClient, site: Site, balancer: Balancer
) -> None:
    await until_up(site, balancer)
    person = site.chat.tenant
    sockets = [
        await js.connected(balancer.base_url, person, transports=transports)
        for transports in (["websocket"], ["websocket"], ["polling"], ["polling", "websocket"])
    ]
    killed = site.nodes[0]
    killed.kill()
    async with ClientSession() as http:
        rest = Rest(http, balancer.base_url)
        for _ in range(20):
            sent = await rest.send(person, site.chat.id, content="hello")
            assert sent.status == 201
    for _ in range(4):
        await js.connected(balancer.base_url, person, transports=["websocket"])
    for socket in sockets:
        await goes_on(socket)
    await killed.restart()


async def test_without_any_node_the_answer_is_the_error_of_the_api(
    site: Site, balancer: Balancer
) -> None:
    await until_up(site, balancer)
    for node in site.nodes:
        node.kill()
    token = site.chat.tenant.token()
    try:
        async with ClientSession() as http:
            for _ in range(6):
                url = f"{balancer.base_url}/api/chat/unread-count?token={token}"
                async with http.get(url) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "1"
                    assert response.content_type == "application/problem+json"
                    body = await response.json()
                assert (body["code"], body["retryable"]) == ("unavailable", True)
                assert (body["retry_after"], body["status"]) == (1, 503)
        # Neither what it says of the nodes shows who asked.
        assert token not in balancer.log
    finally:
        await asyncio.gather(*(node.restart() for node in site.nodes))
