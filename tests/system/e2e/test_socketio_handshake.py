"""The real socket.io-client: who gets in, by which transport and with which token."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from chatserver.errors import Unauthorized
from tests.kit.app import RunningServer, add_person, running_server
from tests.kit.clients import TIMEOUT, Rest, open_chat
from tests.system.e2e.node_client import NodeClient

TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]
UNAUTHORIZED = Unauthorized().to_dict()


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_url) as server:
        yield server


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_a_client_connects_and_is_answered_by_every_transport(
    js: NodeClient, server: RunningServer, transports: list[str]
) -> None:
    person = await add_person(server.database_url)
    socket = await js.connected(server.base_url, person, transports=transports)
    # The answer to an event shows that the connection works in both directions.
    async with asyncio.timeout(TIMEOUT):
        while await socket.transport() != transports[-1]:
            assert await socket.code("nonsense", {}) == "unknown_event"
    assert await socket.code("nonsense", {}) == "unknown_event"
    assert not socket.of("disconnect")


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
@pytest.mark.parametrize("auth", [None, {}, {"token": "rubbish"}, {"token": 7}], ids=str)
async def test_a_bad_token_is_refused_with_exactly_the_error_object(
    js: NodeClient, server: RunningServer, transports: list[str], auth: Any
) -> None:
    socket = await js.open(server.base_url, transports=transports, auth=auth)
    refusal = await socket.heard("connect_error")
    assert refusal == {"message": UNAUTHORIZED["detail"], "data": UNAUTHORIZED}
    assert not socket.of("connect")


async def test_tokens_of_nobody_and_of_the_past_are_refused_alike(
    js: NodeClient, server: RunningServer
) -> None:
    person = await add_person(server.database_url)
    for token in (
        person.token(secret="another secret, of the same length or more"),
        person.token(ttl=-60.0),
    ):
        socket = await js.open(server.base_url, transports=["websocket"], auth={"token": token})
        assert (await socket.heard("connect_error"))["data"] == UNAUTHORIZED


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_a_token_may_come_in_the_authorization_header(
    js: NodeClient, server: RunningServer, transports: list[str]
) -> None:
    person = await add_person(server.database_url)
    headers = {"Authorization": f"Bearer {person.token()}"}
    socket = await js.open(server.base_url, transports=transports, extraHeaders=headers)
    await socket.heard("connect")


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_a_token_may_come_in_the_query_where_that_is_turned_on(
    js: NodeClient, database_url: str, transports: list[str]
) -> None:
    person = await add_person(database_url)
    query = {"token": person.token()}
    async with running_server(database_url, auth__query_token=True) as server:
        socket = await js.open(server.base_url, transports=transports, query=query)
        await socket.heard("connect")


async def test_a_token_in_the_query_is_refused(js: NodeClient, server: RunningServer) -> None:
    person = await add_person(server.database_url)
    socket = await js.open(server.base_url, query={"token": person.token()})
    assert (await socket.heard("connect_error"))["data"] == UNAUTHORIZED
    await js.connected(server.base_url, person)


async def test_the_token_in_auth_comes_before_those_in_the_header_and_the_query(
    js: NodeClient, server: RunningServer
) -> None:
    async with ClientSession() as http:
        chat = await open_chat(Rest(http, server.base_url), server.database_url)
    stranger = await add_person(server.database_url)
    socket = await js.connected(
        server.base_url,
        chat.tenant,
        query={"token": stranger.token()},
        extraHeaders={"Authorization": f"Bearer {stranger.token()}"},
    )
    await socket.ok("join", {"conversation_id": chat.id})


async def test_a_user_cannot_open_more_sockets_than_allowed(
    js: NodeClient, database_url: str
) -> None:
    person, other = await add_person(database_url), await add_person(database_url)
    async with running_server(database_url, realtime__max_sockets_per_user=2) as server:
        first = await js.connected(server.base_url, person)
        await js.connected(server.base_url, person)
        third = await js.open(server.base_url, person)
        refusal = (await third.heard("connect_error"))["data"]
        assert (refusal["code"], refusal["retryable"]) == ("rate_limited", True)
        await js.connected(server.base_url, other)
        await first.close()
        await third.close()
        await js.connected(server.base_url, person)


async def test_an_expired_token_ends_the_session_with_an_error(
    js: NodeClient, database_url: str
) -> None:
    person = await add_person(database_url)
    async with running_server(database_url, jwt__leeway=0.0) as server:
        while True:
            token = person.token(1.0)
            socket = await js.open(server.base_url, person, auth={"token": token})
            await socket.until(lambda each: bool(each.of("connect") or each.of("connect_error")))
            if socket.of("connect"):  # and not already too late
                break
        assert (await socket.heard("error"))["code"] == "token_expired"
        assert await socket.heard("disconnect") == "io server disconnect"


async def test_a_socket_that_presents_a_fresh_token_in_time_stays(
    js: NodeClient, database_url: str
) -> None:
    person, other = await add_person(database_url), await add_person(database_url)
    async with running_server(database_url, jwt__leeway=0.0) as server:
        short = {"token": person.token(6.0)}
        kept = await js.connected(server.base_url, person, auth=short)
        lost = await js.connected(server.base_url, person, auth=short)
        answer = await kept.ok("authenticate", {"token": person.token(60.0)})
        assert answer["expires_at"].endswith("Z")
        assert await lost.code("authenticate", {"token": other.token()}) == "forbidden"
        assert await lost.code("authenticate", {"token": "rubbish"}) == "unauthorized"
        await lost.heard("disconnect")
        assert await kept.code("nonsense", {}) == "unknown_event"
        assert not kept.of("disconnect")


async def test_a_websocket_of_swift_names_its_own_scheme_as_origin(server: RunningServer) -> None:
    """Starscream's headers, under the official Swift client."""
    headers = {"Origin": server.base_url.replace("http", "ws")}
    url = f"{server.base_url}/socket.io/?EIO=4&transport=websocket"
    async with ClientSession() as http, http.ws_connect(url, headers=headers) as ws:
        assert (await ws.receive_str()).startswith("0{")


async def test_options_without_an_origin_is_answered(server: RunningServer) -> None:
    """As a tool or a load balancer asks, which is no browser."""
    async with (
        ClientSession() as http,
        http.options(f"{server.base_url}/socket.io/?EIO=4&transport=polling") as answer,
    ):
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
