"""python-socketio's own client, on every transport."""

import asyncio
from typing import Any

import pytest
import socketio  # type: ignore[import-untyped]

from chatserver.errors import Unauthorized
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, running_node


def _client() -> Any:
    return socketio.AsyncClient(reconnection=False, handle_sigint=False)


async def _connect(node: Node, client: Any, transports: list[str], auth: Any = None) -> None:
    await client.connect(f"http://127.0.0.1:{node.port}", transports=transports, auth=auth)


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_a_client_connects_calls_receives_and_leaves(transports: list[str]) -> None:
    async with running_node() as node:
        client = _client()
        received: list[int] = []
        client.on("news", received.append)
        await _connect(node, client, transports, {"token": "t"})
        assert client.transport() == transports[-1]
        assert node.server.transport(client.get_sid()) == transports[-1]
        for number in range(30):
            answer = await client.call("echo", {"n": number}, timeout=15)
            assert answer == {"ok": True, "event": "echo", "args": [{"n": number}]}
        await node.server.enter_room(client.get_sid(), "room")
        for number in range(40):
            node.adapter.emit_now("news", number, ["room"])
        await eventually(lambda: len(received) == 40)
        assert received == list(range(40))
        await client.disconnect()
        await node.until_empty()
        assert [call[0] for call in node.script.calls[::31]] == ["connect", "disconnect"]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_refused_client_sees_the_error_object(transport: str) -> None:
    async with running_node() as node:

        async def connecting(sid: str, auth: Any) -> None:
            raise Unauthorized

        node.script.connecting = connecting
        client = _client()
        errors: list[Any] = []
        client.on("connect_error", errors.append)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await _connect(node, client, [transport])
        assert errors == [{"message": Unauthorized().detail, "data": Unauthorized().to_dict()}]
        await node.until_empty()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_heartbeats_keep_a_client_for_as_long_as_it_likes(transports: list[str]) -> None:
    async with running_node(ping_interval=0.1, ping_timeout=1.0) as node:
        client = _client()
        await _connect(node, client, transports)
        try:
            await asyncio.sleep(2)
            assert (await client.call("a", timeout=5))["ok"] is True
        finally:
            await client.disconnect()


async def test_a_server_side_disconnect_is_told_as_one() -> None:
    async with running_node() as node:
        client = _client()
        reasons: list[str] = []
        client.on("disconnect", reasons.append)
        await _connect(node, client, ["websocket"])
        await node.server.disconnect(client.get_sid())
        await eventually(lambda: reasons != [])
        assert reasons == [client.reason.SERVER_DISCONNECT]
        await client.disconnect()
        await node.until_empty()
