"""The 32 cases of the official Socket.IO 5 suite; docs/protocol.md names what is by design."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.realtime import official
from tests.unit.realtime.official import POLLING, open_websocket, upgraded
from tests.unit.realtime.wire import Node, WebSocketClient, running_node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A server that does what the suite's does: tells `auth`, and sends back what it gets."""
    settings = {"max_packet_bytes": 1_000_000, "connect_timeout": 0.2}
    async with running_node(**settings, **official.HEARTBEAT) as running:

        async def connecting(sid: str, auth: Any) -> None:
            running.adapter.emit_now("auth", auth or {}, [sid])

        async def message(sid: str, args: list[Any]) -> None:
            running.adapter.emit_now("message-back", tuple(args), [sid])

        async def message_with_ack(sid: str, args: list[Any]) -> Any:
            return tuple(args)

        running.script.connecting = connecting
        running.script.handlers["message"] = message
        running.script.handlers["message-with-ack"] = message_with_ack
        yield running


async def connected(node: Node) -> WebSocketClient:
    client = await open_websocket(node)
    await client.send("40")
    assert (await client.receive()).startswith("40")
    assert (await client.receive()).startswith('42["auth"')
    return client


class TestEngineHandshake:
    async def test_should_successfully_open_a_session_by_long_polling(self, node: Node) -> None:
        status, body = await node.request("GET", POLLING)
        assert (status, body[0]) == (200, "0")
        official.check_hello(json.loads(body[1:]), "websocket")

    async def test_should_fail_with_an_invalid_eio_by_long_polling(self, node: Node) -> None:
        await official.check_refused(node, "transport=polling", "EIO=abc&transport=polling")

    async def test_should_fail_with_an_invalid_transport_by_long_polling(self, node: Node) -> None:
        await official.check_refused(node, "EIO=4", "EIO=4&transport=abc")

    async def test_should_fail_with_an_invalid_request_method(self, node: Node) -> None:
        assert (await node.request("POST", POLLING))[0] == 400
        # By design: the suite wants 400, HTTP has a word for it.
        assert (await node.request("PUT", POLLING))[0] == 405

    async def test_should_successfully_open_a_session_by_websocket(self, node: Node) -> None:
        official.check_hello((await open_websocket(node)).hello)

    async def test_should_fail_with_an_invalid_eio_by_websocket(self, node: Node) -> None:
        await official.check_closed(node, "transport=websocket", "EIO=abc&transport=websocket")

    async def test_should_fail_with_an_invalid_transport_by_websocket(self, node: Node) -> None:
        await official.check_closed(node, "EIO=4", "EIO=4&transport=abc")


class TestEngineHeartbeat:
    """With time to say who one is: a session that says nothing ends sooner otherwise."""

    @pytest.fixture
    async def node(self) -> AsyncIterator[Node]:
        async with running_node(**official.HEARTBEAT) as running:
            yield running

    async def test_should_send_ping_and_pong_packets_by_long_polling(self, node: Node) -> None:
        await official.check_answers_of_pings(node)

    async def test_should_close_upon_ping_timeout_of_long_polling(self, node: Node) -> None:
        await official.check_silent_poller(node)

    async def test_should_send_ping_and_pong_packets_by_websocket(self, node: Node) -> None:
        await official.check_pings_of_websocket(node)

    async def test_should_close_upon_ping_timeout_of_a_websocket(self, node: Node) -> None:
        await official.check_silent_websocket(node)


class TestEngineClose:
    async def test_should_forcefully_close_the_session_of_long_polling(self, node: Node) -> None:
        await official.check_end_of_poller(node)

    async def test_should_forcefully_close_the_session_of_a_websocket(self, node: Node) -> None:
        await official.check_end_of_websocket(node)


class TestEngineUpgrade:
    async def test_should_upgrade_from_long_polling_to_websocket(self, node: Node) -> None:
        await upgraded(node)

    async def test_should_ignore_http_requests_after_upgrade(self, node: Node) -> None:
        query, _ = await upgraded(node)
        assert (await node.request("GET", query))[0] == 400

    async def test_should_ignore_a_websocket_after_upgrade(self, node: Node) -> None:
        query, _ = await upgraded(node)
        await official.check_closed(node, query.replace("polling", "websocket"))


class TestConnect:
    @pytest.mark.parametrize("payload", ["", '{"token":"123"}'], ids=["without", "with a payload"])
    async def test_should_allow_connection_to_the_main_namespace(
        self, node: Node, payload: str
    ) -> None:
        client = await open_websocket(node)
        await client.send(f"40{payload}")
        answer = await client.receive()
        assert answer.startswith("40")
        assert set(json.loads(answer[2:])) == {"sid"}
        assert await client.receive() == f'42["auth",{payload or "{}"}]'

    @pytest.mark.parametrize("payload", ["", '{"token":"abc"}'], ids=["without", "with a payload"])
    async def test_should_allow_connection_to_a_custom_namespace(
        self, node: Node, payload: str
    ) -> None:
        """By design there is none."""
        client = await open_websocket(node)
        await client.send(f"40/custom,{payload}")
        assert await client.receive() == '44/custom,{"message":"Invalid namespace"}'

    async def test_should_disallow_connection_to_an_unknown_namespace(self, node: Node) -> None:
        client = await open_websocket(node)
        await client.send("40/random")
        assert await client.receive() == '44/random,{"message":"Invalid namespace"}'

    async def test_should_disallow_connection_with_an_invalid_handshake(self, node: Node) -> None:
        client = await open_websocket(node)
        await client.send("4abc")
        assert (await client.receive()).startswith("closed")

    async def test_should_close_the_connection_if_no_handshake_is_received(
        self, node: Node
    ) -> None:
        client = await open_websocket(node)
        assert (await client.receive()).startswith("closed")


class TestDisconnect:
    async def test_should_disconnect_from_the_main_namespace(self) -> None:
        # The connection outlives its last namespace by min(2 s, connect_timeout).
        async with running_node(**official.HEARTBEAT) as node:
            client = await open_websocket(node)
            await client.send("40")
            assert (await client.receive()).startswith("40")
            await client.send("41")
            assert await client.receive() == "2"

    async def test_should_connect_then_disconnect_from_a_custom_namespace(self, node: Node) -> None:
        """By design there is none; the main one goes on."""
        client = await connected(node)
        assert await client.receive() == "2"
        await client.send("3")
        await client.send("40/custom")
        assert await client.receive() == '44/custom,{"message":"Invalid namespace"}'
        await client.send('42["message","message to main namespace"]')
        assert await client.receive() == '42["message-back","message to main namespace"]'


BINARY = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


class TestMessage:
    async def test_should_send_a_plain_text_packet(self, node: Node) -> None:
        client = await connected(node)
        await client.send('42["message",1,"2",{"3":[true]}]')
        assert await client.receive() == '42["message-back",1,"2",{"3":[true]}]'

    async def test_should_send_a_plain_text_packet_with_an_ack(self, node: Node) -> None:
        client = await connected(node)
        await client.send('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert await client.receive() == '43456[1,"2",{"3":[false]}]'

    @pytest.mark.parametrize("ack_id", ["", "789"], ids=["without an ack", "and an ack"])
    async def test_should_send_a_packet_with_binary_attachments(
        self, node: Node, ack_id: str
    ) -> None:
        """By design it is answered with an error, and the connection lives."""
        client = await connected(node)
        await client.send(f'452-{ack_id}["message-with-ack",{BINARY}]')
        await client.ws.send_bytes(bytes((1, 2, 3)))
        await client.ws.send_bytes(bytes((4, 5, 6)))
        answer = await client.receive()
        assert answer.startswith("43789[" if ack_id else '42["error",')
        assert '"code":"invalid_payload"' in answer
        await client.send('42["message",1]')
        assert await client.receive() == '42["message-back",1]'

    @pytest.mark.parametrize(
        "packet",
        ["4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]'],
        ids=["unknown packet type", "invalid payload format", "invalid ack id"],
    )
    async def test_should_close_the_connection_upon_invalid_format(
        self, node: Node, packet: str
    ) -> None:
        client = await connected(node)
        await client.send(packet)
        await asyncio.sleep(0)
        assert (await client.receive()).startswith("closed")
