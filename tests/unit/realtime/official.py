"""What both official protocol suites ask of a server, with their times and their echoes.

Their cases are in the repository socketio/socket.io, under docs/engine.io-protocol and
docs/socket.io-protocol; here they are written anew. A test bears the name of its case.
"""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.unit.realtime.wire import Node, WebSocketClient

POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
HEARTBEAT = {"ping_interval": 0.3, "ping_timeout": 0.2}


async def open_session(node: Node) -> str:
    """The query of a new session on long-polling."""
    status, body = await node.request("GET", POLLING)
    assert status == 200
    return f"{POLLING}&sid={json.loads(body[1:])['sid']}"


async def open_websocket(node: Node, query: str = WEBSOCKET) -> WebSocketClient:
    """A websocket that answers no ping by itself; a new session's has had its handshake."""
    client = await node.websocket(query)
    client.answers_pings = False
    if "sid" not in query:
        await client.receive_hello()
    return client


async def upgraded(node: Node) -> tuple[str, WebSocketClient]:
    """The query of a session that has changed over to the websocket."""
    query = await open_session(node)
    client = await open_websocket(node, query.replace("polling", "websocket"))
    await client.send("2probe")
    assert await client.receive() == "3probe"
    await client.send("5")
    await asyncio.sleep(0.01)
    return query, client


def check_hello(hello: dict[str, Any], *upgrades: str) -> None:
    assert set(hello) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
    assert isinstance(hello["sid"], str)
    assert hello["upgrades"] == list(upgrades)
    assert (hello["pingInterval"], hello["pingTimeout"]) == (300, 200)
    assert hello["maxPayload"] == 1_000_000


async def check_refused(node: Node, *queries: str) -> None:
    for query in queries:
        assert (await node.request("GET", query))[0] == 400


async def check_closed(node: Node, *queries: str) -> None:
    for query in queries:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await node.websocket(query)


async def check_answers_of_pings(node: Node) -> None:
    query = await open_session(node)
    for _ in range(3):
        assert await node.request("GET", query) == (200, "2")
        assert (await node.request("POST", query, b"3"))[0] == 200


async def check_pings_of_websocket(node: Node) -> None:
    client = await open_websocket(node)
    for _ in range(3):
        assert await client.receive() == "2"
        await client.send("3")


async def check_silent_poller(node: Node) -> None:
    query = await open_session(node)
    await asyncio.sleep(0.3 + 0.2 + 0.01)
    assert (await node.request("GET", query))[0] == 400


async def check_silent_websocket(node: Node) -> None:
    client = await open_websocket(node)
    assert await client.receive() == "2"
    assert (await client.receive()).startswith("closed")


async def check_end_of_poller(node: Node) -> None:
    query = await open_session(node)
    poll = asyncio.create_task(node.request("GET", query))
    await asyncio.sleep(0)
    assert (await node.request("POST", query, b"1"))[0] == 200
    assert await poll == (200, "6")
    assert (await node.request("GET", query))[0] == 400


async def check_end_of_websocket(node: Node) -> None:
    client = await open_websocket(node)
    await client.send("1")
    assert (await client.receive()).startswith("closed")
