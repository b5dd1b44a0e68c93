"""The Engine.IO endpoint: handshakes, origins, caps and heartbeats."""

import asyncio
import json
import struct

import aiohttp
import pytest
from multidict import CIMultiDict

from chatserver.eio.frames import MAX_CUT_BYTES
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import FRIEND, Node, running_node

# Handshakes


async def test_a_polling_handshake_tells_the_settings(node: Node) -> None:
    status, body = await node.request("GET", "EIO=4&transport=polling")
    hello = json.loads(body[1:])
    assert (status, body[0]) == (200, "0")
    assert hello["upgrades"] == ["websocket"]
    assert hello["pingInterval"] == hello["pingTimeout"] == 5000
    assert hello["maxPayload"] == 100_000


async def test_a_websocket_handshake_offers_no_upgrade(node: Node) -> None:
    async with await node.websocket() as client:
        await client.receive_hello()
        assert client.hello["upgrades"] == []


@pytest.mark.parametrize(
    ("method", "query", "code", "message"),
    [
        ("GET", "EIO=4", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=pigeon", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=polling&sid=nobody", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling&sid=nobody", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("GET", "EIO=4&transport=polling&j=0", 3, "Bad request"),
        ("GET", "EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "transport=polling", 5, "Unsupported protocol version"),
    ],
)
async def test_a_bad_request_is_refused_in_the_words_of_the_protocol(
    node: Node, method: str, query: str, code: int, message: str
) -> None:
    status, body = await node.request(method, query)
    assert (status, json.loads(body)) == (400, {"code": code, "message": message})


async def test_a_websocket_of_an_old_protocol_is_refused(node: Node) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await node.websocket("EIO=3&transport=websocket")


async def test_a_broken_websocket_handshake_leaves_nothing(node: Node) -> None:
    status, _ = await node.request("GET", "EIO=4&transport=websocket", None, Upgrade="websocket")
    assert status == 400
    await node.until_empty()


async def test_a_client_address_has_its_share_of_sockets() -> None:
    async with running_node(max_sockets_per_address=2, connect_timeout=1.0) as node:
        query = "EIO=4&transport=polling"
        for _ in range(2):
            assert (await node.request("GET", query))[0] == 200
        status, body = await node.request("GET", query)
        assert (status, json.loads(body)["code"]) == (429, 4)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await node.websocket()
        other = {"X-Test-Address": "192.0.2.1"}
        assert (await node.request("GET", query, None, **other))[0] == 200
        await node.until_empty()  # they miss CONNECT
        assert (await node.request("GET", query))[0] == 200


async def test_the_connect_handler_learns_the_query_and_the_authorization(node: Node) -> None:
    headers = {"Authorization": "Bearer t"}
    async with node.http.ws_connect(
        f"{node.url}?EIO=4&transport=websocket&token=q", headers=headers
    ) as ws:
        await ws.send_str("40")
        await eventually(lambda: node.script.count("connect") == 1)
    (environ,) = node.script.environs
    assert environ["HTTP_AUTHORIZATION"] == "Bearer t"
    assert "token=q" in environ["QUERY_STRING"]


async def test_a_handshake_keeps_none_of_the_headers_that_nobody_asks_for() -> None:
    async with running_node(connect_timeout=1.0) as node:
        await node.request("GET", "EIO=4&transport=polling", None, **{"X-Large": "a" * 8000})
        (environ,) = node.environs()
        assert "a" * 100 not in str(environ)
        assert environ["HTTP_AUTHORIZATION"] == ""
        await node.until_empty()
        query = f"EIO=4&transport=polling&x={'a' * 5000}"
        tokens = CIMultiDict([("Authorization", "a" * 2000)] * 10)
        async with node.http.get(f"{node.url}?{query}", headers=tokens) as answer:
            assert answer.status == 200
        (environ,) = node.environs()
        assert "a" * 100 not in str(environ)
        await node.until_empty()


# Origins


async def test_a_foreign_origin_gets_neither_transport_nor_cors_headers(node: Node) -> None:
    foreign = {"Origin": "http://foe.example"}
    for method in ("GET", "POST", "OPTIONS"):
        async with node.http.request(
            method, f"{node.url}?EIO=4&transport=polling", headers=foreign
        ) as answer:
            assert answer.status == 403
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await node.http.ws_connect(f"{node.url}?EIO=4&transport=websocket", headers=foreign)
    assert refused.value.status == 403
    await node.until_empty()


@pytest.mark.parametrize("query", ["EIO=4&transport=polling", "EIO=4"])
async def test_an_allowed_origin_may_read_every_answer(node: Node, query: str) -> None:
    async with node.http.get(f"{node.url}?{query}", headers={"Origin": FRIEND}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Vary"] == "Origin"


async def test_a_preflight_of_an_allowed_origin_is_answered(node: Node) -> None:
    headers = {"Origin": FRIEND, "Access-Control-Request-Headers": "authorization"}
    async with node.http.options(f"{node.url}?EIO=4&transport=polling", headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


# Heartbeats


async def test_a_client_that_answers_pings_stays() -> None:
    async with running_node(ping_interval=0.1, ping_timeout=0.1) as node:
        async with await node.connected() as client:
            with pytest.raises(TimeoutError):
                await client.receive(within=0.6)
        poller = await node.polling()
        await poller.connect()
        for _ in range(3):
            assert await poller.receive() == ["2"]
            await poller.send("3")
        await poller.send("1")
        assert node.counts.errors == []


async def test_a_client_that_answers_no_ping_is_dropped_in_time() -> None:
    async with running_node(ping_interval=0.2, ping_timeout=0.2) as node:
        loop = asyncio.get_running_loop()
        client = await node.connected()
        client.answers_pings = False
        poller = await node.polling()
        await poller.connect()
        start = loop.time()
        await eventually(lambda: node.script.count("disconnect") == 2)
        assert 0.2 < loop.time() - start < 0.7
        assert {call[2] for call in node.script.calls if call[0] == "disconnect"} == {
            "ping timeout"
        }
        await node.until_empty()


async def test_compression_is_never_agreed_on(node: Node) -> None:
    async with node.http.ws_connect(f"{node.url}?EIO=4&transport=websocket", compress=15) as ws:
        assert not ws.compress


UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        UPGRADE,
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + KEY,
        f"{UPGRADE}Sec-WebSocket-Version: 99\r\n{KEY}",
        f"{UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
        f"{UPGRADE}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \xe9\r\n",
    ],
)
async def test_a_bad_websocket_handshake_is_a_bad_request(node: Node, headers: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    target = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{target}{headers}\r\n".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 15)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"code":3,"message":"Bad request"}')
    writer.close()
    await node.until_empty()


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (bytes((0x81, 0x82, 0, 0, 0, 0)) + b"40", b'40{"sid"'),
        (b"\x81\xff" + struct.pack("!Q", MAX_CUT_BYTES + 1) + bytes(4), b"\x88\x02\x03\xf1"),
    ],
    ids=["a packet", "far too large"],
)
async def test_a_frame_that_comes_with_the_handshake_is_read(
    node: Node, frame: bytes, answer: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    target = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
    head = f"{target}{UPGRADE}Sec-WebSocket-Version: 13\r\n{KEY}\r\n"
    writer.write(head.encode() + frame)
    await asyncio.wait_for(reader.readuntil(answer), 15)
    writer.close()
    await node.until_empty()
