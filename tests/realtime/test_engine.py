"""The Engine.IO endpoint: handshakes, polling, upgrades, origins, caps and heartbeats."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from chatserver.realtime.polls import POLL_GAP
from tests.realtime.wire import FRIEND, Node, PollingClient, running_node, until


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as running:
        yield running


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


async def test_the_connect_handler_learns_address_query_and_authorization(node: Node) -> None:
    headers = {"X-Test-Address": "192.0.2.7", "Authorization": "Bearer t"}
    async with node.http.ws_connect(
        f"{node.url}?EIO=4&transport=websocket&token=q", headers=headers
    ) as ws:
        await ws.send_str("40")
        await until(lambda: node.script.count("connect") == 1)
    (environ,) = node.script.environs
    assert environ["REMOTE_ADDR"] == "192.0.2.7"
    assert environ["HTTP_AUTHORIZATION"] == "Bearer t"
    assert "token=q" in environ["QUERY_STRING"]


async def test_a_handshake_keeps_none_of_the_headers_that_nobody_asks_for() -> None:
    async with running_node(connect_timeout=1.0) as node:
        await node.request("GET", "EIO=4&transport=polling", None, **{"X-Large": "a" * 8000})
        (environ,) = node.server.environ.values()
        assert "a" * 100 not in str(environ)
        assert environ["HTTP_AUTHORIZATION"] == ""
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


# Polling


async def test_packets_of_one_turn_share_a_poll_of_at_most_sixteen(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    for number in range(20):
        node.server.emit_now("n", number, [client.sid])
    first, second = await client.receive(), await client.receive()
    assert [len(first), len(second)] == [16, 4]
    assert [*first, *second] == [f'42["n",{number}]' for number in range(20)]


async def test_a_waiting_poll_is_answered_by_the_next_event(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(0.05)
    assert not poll.done()
    node.server.emit_now("a", 1, [client.sid])
    assert await poll == ['42["a",1]']


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"abc", {}),
        (b"6\xff", {}),
        (b"2", {}),
        (b"3\x1e", {}),
        (b"bAAAA", {}),
        (b"\x1e".join([b"6"] * 4097), {}),
        (b"4" + b"x" * 100_000, {}),
        (gzip.compress(b"6" + b"x" * 10_000, mtime=0), {"Content-Encoding": "gzip"}),
        (b'42["a"]', {}),  # an event before CONNECT
        (b'451-["a",{"_placeholder":true,"num":0}]', {}),
    ],
)
async def test_a_bad_post_is_refused_and_closes_the_session(
    node: Node, body: bytes, headers: dict[str, str]
) -> None:
    client = await node.polling()
    poll = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert (await client.post(body, **headers))[0] == 400
    assert await poll == (200, "1")
    assert (await client.get())[0] == 400
    await node.until_empty()


async def test_everything_that_was_emitted_in_one_turn_may_come_in_one_post(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    await client.send(*(f'42{number}["join"]' for number in range(4096)))
    acks: list[str] = []
    while len(acks) < 4096:
        acks += await client.receive()
    assert [ack.partition("[")[0] for ack in acks] == [f"43{number}" for number in range(4096)]


async def test_a_post_without_a_content_length_is_refused(node: Node) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"3"

    client = await node.polling()
    async with node.http.post(f"{node.url}?{client.query}", data=chunks()) as answer:
        assert answer.status == 400
    await node.until_empty()


@pytest.mark.parametrize("length", [10, 99_999])
async def test_a_body_shorter_than_its_length_is_given_up(length: int) -> None:
    async with running_node(body_timeout=0.3) as node:
        client = await node.polling()
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n3".encode())
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 2)
        writer.close()
        await node.until_empty()


async def test_a_huge_content_length_is_refused_before_the_body(node: Node) -> None:
    client = await node.polling()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 15)
    writer.close()
    await node.until_empty()


async def test_a_client_that_vanishes_in_the_middle_of_a_post_is_no_error(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    client = await node.polling()
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n3".encode())
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await node.until_empty()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_two_polls_at_once_close_the_session(node: Node) -> None:
    client = await node.polling()
    first = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert (await client.get())[0] == 400
    assert await first == (200, "1")
    assert (await client.get())[0] == 400


async def test_two_posts_at_once_close_the_session(node: Node) -> None:
    client = await node.polling()
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n3".encode())
    await asyncio.sleep(0.05)
    assert (await client.post(b"3"))[0] == 400
    await node.until_empty()
    writer.close()


async def begin_poll(node: Node, client: PollingClient, *headers: str) -> asyncio.StreamWriter:
    """A poll of `client` on a connection of its own, which waits."""
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    lines = [f"GET /socket.io/?{client.query} HTTP/1.1", "Host: x", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    await asyncio.sleep(0.05)
    return writer


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_client_that_goes_away_from_its_poll_has_gone_at_once(node: Node, how: str) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    if how == "closes":
        writer.close()
    else:
        writer.transport.abort()
    await asyncio.sleep(0.05)
    assert node.script.calls[-1] == ("disconnect", client.sid, "transport close")
    assert (await client.get())[0] == 400
    assert node.counts.errors == ["unknown_sid"]
    await node.until_empty()


async def test_a_connection_that_ends_between_two_polls_ends_no_session(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    node.server.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP - 0.5)
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(1)
    node.server.emit_now("n", 2, [client.sid])
    assert await poll == ['42["n",2]']


async def test_a_client_that_goes_away_between_two_polls_has_gone_soon(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    node.server.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP - 0.1)
    assert node.server.eio.sockets
    await asyncio.sleep(0.2)
    assert not node.server.eio.sockets
    assert node.script.calls[-1] == ("disconnect", client.sid, "transport close")


async def test_the_end_of_a_connection_that_was_not_to_be_kept_says_nothing(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client, "Connection: close")
    node.server.emit_now("n", 1, [client.sid])
    await asyncio.sleep(POLL_GAP + 0.5)
    assert node.server.eio.sockets
    writer.close()


async def test_a_connection_that_serves_others_too_says_nothing_of_a_poll(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    node.server.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.write(b"OPTIONS /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP + 0.5)
    assert node.server.eio.sockets


async def test_who_upgrades_is_alive_without_a_poll(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    websocket = await client.probe()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await asyncio.sleep(0.05)  # the poll has been answered with NOOP
    writer.close()
    await asyncio.sleep(POLL_GAP + 0.5)
    await websocket.send("5")
    assert (await websocket.call("hello"))["ok"] is True


async def test_a_close_packet_ends_the_waiting_poll_and_the_session(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert await client.post(b"1") == (200, "ok")
    assert await poll == (200, "6")
    assert (await client.get())[0] == 400
    assert node.script.calls[-1] == ("disconnect", client.sid, "client disconnect")


# Upgrades


async def test_an_upgrade_keeps_the_session_and_the_order(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(0.02)
    websocket = await client.probe()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert await poll == ["6"]
    node.server.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.02)
    node.server.emit_now("n", 2, [client.sid])
    await websocket.send("5")
    node.server.emit_now("n", 3, [client.sid])
    assert [await websocket.receive() for _ in range(3)] == [f'42["n",{n}]' for n in (1, 2, 3)]
    assert node.counts.open == {"polling": 0, "websocket": 1}
    assert node.server.transport(client.sid) == "websocket"
    for request in (client.get(), client.post(b"3")):
        assert (await request)[0] == 400
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.probe()
    assert (await websocket.call("hello"))["ok"] is True


async def test_an_upgrade_without_a_probe_is_taken(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(0.02)
    websocket = await client.probe()
    await websocket.send("5")
    assert await poll == ["6"]
    assert (await websocket.call("hello"))["ok"] is True
    assert node.counts.open == {"polling": 0, "websocket": 1}


async def test_polls_during_a_probe_come_back_soon(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert await asyncio.wait_for(client.receive(), 4) == ["6"]
    await websocket.ws.close()


@pytest.mark.parametrize("packets", [[], ["2probe"], ["4junk"], ["2probe", "4junk"], ["2"]])
async def test_an_upgrade_that_comes_to_nothing_leaves_polling_alone(packets: list[str]) -> None:
    async with running_node(connect_timeout=0.3) as node:
        client = await node.polling()
        await client.connect()
        websocket = await client.probe()
        for packet in packets:
            await websocket.send(packet)
        answers = [await websocket.receive()]
        if packets[:1] == ["2probe"]:
            assert answers.pop() == "3probe"
            answers.append(await websocket.receive())
        assert answers == ["closed 1002"]
        await client.send('421["still here"]')
        assert '"still here"' in (await client.receive())[0]
        assert (await client.probe()).ws.closed is False


async def test_a_session_is_probed_by_one_websocket_at_a_time(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.probe()
    await websocket.ws.close()


async def test_a_probe_ends_with_its_session(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await client.send("1")
    assert await websocket.receive() == "closed 1000"


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
        await until(lambda: node.script.count("disconnect") == 2)
        assert 0.2 < loop.time() - start < 0.7
        assert {call[2] for call in node.script.calls if call[0] == "disconnect"} == {
            "ping timeout"
        }
        await node.until_empty()


async def test_a_message_over_the_limit_closes_with_the_code_for_it(node: Node) -> None:
    client = await node.connected()
    await client.send('421["a","' + "x" * 99_980 + '"]')
    assert (await client.receive()).startswith("431[")
    await client.send("4" + "x" * 100_000)
    assert await client.receive() == "closed 1009"
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
