"""The 25 cases of the official Engine.IO 4 suite; docs/protocol.md names what is by design."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from chatserver.eio.protocol import UNSUPPORTED_DATA
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import text_frame
from tests.unit.realtime import official
from tests.unit.realtime.official import POLLING, open_session, open_websocket, upgraded
from tests.unit.realtime.wire import Node, running_node


class Echo:
    """What the suite's server does with each message; binary is refused, by design."""

    is_busy = False

    def __init__(self, socket: EngineSocket) -> None:
        self._socket = socket

    def receive(self, data: bytes) -> None:
        self._socket.enqueue(text_frame(b"4" + data))

    def receive_binary(self) -> None:
        self._socket.refuse("binary", UNSUPPORTED_DATA)

    def receive_head(self, head: bytes) -> None:
        raise AssertionError(head)

    def closed(self, reason: str) -> None: ...


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node(max_packet_bytes=1_000_000, **official.HEARTBEAT) as running:
        running.engine._open_receiver = lambda socket, environ: Echo(socket)
        yield running


class TestHandshakeByLongPolling:
    async def test_successfully_opens_a_session(self, node: Node) -> None:
        status, body = await node.request("GET", POLLING)
        assert (status, body[0]) == (200, "0")
        official.check_hello(json.loads(body[1:]), "websocket")

    async def test_fails_with_an_invalid_EIO_query_parameter(self, node: Node) -> None:  # noqa: N802
        await official.check_refused(node, "transport=polling", "EIO=abc&transport=polling")

    async def test_fails_with_an_invalid_transport_query_parameter(self, node: Node) -> None:
        await official.check_refused(node, "EIO=4", "EIO=4&transport=abc")

    async def test_fails_with_an_invalid_request_method(self, node: Node) -> None:
        assert (await node.request("POST", POLLING))[0] == 400
        # By design: the suite wants 400, HTTP has a word for it.
        assert (await node.request("PUT", POLLING))[0] == 405


class TestHandshakeByWebSocket:
    async def test_successfully_opens_a_session(self, node: Node) -> None:
        official.check_hello((await open_websocket(node)).hello)

    async def test_fails_with_an_invalid_EIO_query_parameter(self, node: Node) -> None:  # noqa: N802
        await official.check_closed(node, "transport=websocket", "EIO=abc&transport=websocket")

    async def test_fails_with_an_invalid_transport_query_parameter(self, node: Node) -> None:
        await official.check_closed(node, "EIO=4", "EIO=4&transport=abc")


class TestMessagesByLongPolling:
    @pytest.mark.parametrize(
        "body",
        ["4hello", "4test1\x1e4test2\x1e4test3"],
        ids=["one plain text packet", "several plain text packets"],
    )
    async def test_sends_and_receives_a_payload_containing(self, node: Node, body: str) -> None:
        query = await open_session(node)
        assert await node.request("POST", query, body.encode()) == (200, "ok")
        assert await node.request("GET", query) == (200, body)

    async def test_sends_and_receives_a_payload_containing_plain_text_and_binary_packets(
        self, node: Node
    ) -> None:
        """By design binary that nothing announced ends the session."""
        query = await open_session(node)
        assert (await node.request("POST", query, b"4hello\x1ebAQIDBA=="))[0] == 400
        assert (await node.request("GET", query))[0] == 400

    async def test_closes_the_session_upon_invalid_packet_format(self, node: Node) -> None:
        query = await open_session(node)
        assert (await node.request("POST", query, b"abc"))[0] == 400
        assert (await node.request("GET", query))[0] == 400

    async def test_closes_the_session_upon_duplicate_poll_requests(self, node: Node) -> None:
        query = await open_session(node)
        first = asyncio.create_task(node.request("GET", query))
        await asyncio.sleep(0.005)
        assert (await node.request("GET", f"{query}&t=burst"))[0] == 400
        assert await first == (200, "1")
        assert (await node.request("GET", query))[0] == 400

    async def test_closes_the_session_upon_cancelled_polling_request(self, node: Node) -> None:
        query = await open_session(node)
        async with aiohttp.ClientSession() as http:
            poll = asyncio.create_task(http.get(f"{node.url}?{query}"))
            await asyncio.sleep(0.005)
            poll.cancel()
            with pytest.raises(asyncio.CancelledError):
                await poll
        assert (await node.request("GET", query))[0] == 400


class TestMessagesByWebSocket:
    async def test_sends_and_receives_a_plain_text_packet(self, node: Node) -> None:
        client = await open_websocket(node)
        await client.send("4hello")
        assert await client.receive() == "4hello"

    async def test_sends_and_receives_a_binary_packet(self, node: Node) -> None:
        """By design binary that nothing announced ends the session."""
        client = await open_websocket(node)
        await client.ws.send_bytes(bytes((1, 2, 3, 4)))
        assert await client.receive() == "closed 1003"

    async def test_closes_the_session_upon_invalid_packet_format(self, node: Node) -> None:
        client = await open_websocket(node)
        await client.send("abc")
        assert await client.receive() == "closed 1002"


class TestHeartbeat:
    async def test_sends_ping_and_pong_packets_by_long_polling(self, node: Node) -> None:
        await official.check_answers_of_pings(node)

    async def test_closes_the_session_upon_ping_timeout_of_long_polling(self, node: Node) -> None:
        await official.check_silent_poller(node)

    async def test_sends_ping_and_pong_packets_by_websocket(self, node: Node) -> None:
        await official.check_pings_of_websocket(node)

    async def test_closes_the_session_upon_ping_timeout_of_a_websocket(self, node: Node) -> None:
        await official.check_silent_websocket(node)


class TestClose:
    async def test_forcefully_closes_the_session_of_long_polling(self, node: Node) -> None:
        await official.check_end_of_poller(node)

    async def test_forcefully_closes_the_session_of_a_websocket(self, node: Node) -> None:
        await official.check_end_of_websocket(node)


class TestUpgrade:
    async def test_successfully_upgrades_from_long_polling_to_websocket(self, node: Node) -> None:
        query = await open_session(node)
        client = await open_websocket(node, query.replace("polling", "websocket"))
        await client.send("2probe")
        assert await client.receive() == "3probe"
        assert await node.request("GET", query) == (200, "6")
        await client.send("5")
        await client.send("4hello")
        assert await client.receive() == "4hello"

    async def test_ignores_http_requests_with_same_sid_after_upgrade(self, node: Node) -> None:
        query, client = await upgraded(node)
        assert (await node.request("GET", query))[0] == 400
        await client.send("4hello")
        assert await client.receive() == "4hello"

    async def test_ignores_websocket_with_same_sid_after_upgrade(self, node: Node) -> None:
        query, client = await upgraded(node)
        await official.check_closed(node, query.replace("polling", "websocket"))
        await client.send("4hello")
        assert await client.receive() == "4hello"
