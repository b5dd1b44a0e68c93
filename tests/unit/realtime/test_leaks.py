"""Nothing is held for a client that went, however it went."""

import asyncio
import gc
import logging
import weakref
from typing import Any, cast

import pytest

from chatserver.eio.session import EngineSocket
from chatserver.sio.client import Client
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, running_node


async def _close(node: Node) -> None:
    client = await node.connected()
    await client.ws.close()


async def _vanish(node: Node) -> None:
    (await node.connected()).drop()


async def _disconnect(node: Node) -> None:
    client = await node.connected()
    await client.send("41")
    await client.ws.close()


async def _engine_close(node: Node) -> None:
    client = await node.connected()
    await client.send("1")
    await client.receive()


async def _never_connect(node: Node) -> None:
    await node.polling()


async def _be_refused(node: Node) -> None:
    client = await node.websocket()
    await client.receive_hello()
    await client.send('40{"refuse":true}')
    await client.receive()


async def _leave_while_connecting(node: Node) -> None:
    client = await node.websocket()
    await client.send('40{"slow":true}')
    await asyncio.sleep(0.01)
    client.drop()


async def _leave_during_an_event(node: Node) -> None:
    client = await node.connected()
    await client.send('421["slow"]')
    client.drop()


async def _send_rubbish(node: Node) -> None:
    client = await node.connected()
    await client.send("42{}")
    await client.receive()


async def _send_binary(node: Node) -> None:
    client = await node.connected()
    await client.ws.send_bytes(b"x")
    await client.receive()


async def _poll_and_close(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    await client.send("1")


async def _poll_and_vanish(node: Node) -> None:
    client = await node.polling()
    await client.connect()


async def _upgrade_and_vanish(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    await websocket.send("2probe")
    await websocket.send("5")
    assert await websocket.receive() == "3probe"
    websocket.drop()


async def _probe_and_vanish(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    await websocket.send("2probe")
    websocket.drop()


async def _be_disconnected(node: Node) -> None:
    client = await node.connected()
    await node.server.disconnect(client.sid)
    assert await client.receive() == "41"


WAYS = [
    _close,
    _vanish,
    _disconnect,
    _engine_close,
    _never_connect,
    _be_refused,
    _leave_while_connecting,
    _leave_during_an_event,
    _send_rubbish,
    _send_binary,
    _poll_and_close,
    _poll_and_vanish,
    _upgrade_and_vanish,
    _probe_and_vanish,
    _be_disconnected,
]


def _script(node: Node) -> None:
    """Rooms for everyone, slow and failing handlers for some."""

    async def connecting(sid: str, auth: Any) -> bool:
        await node.server.enter_room(sid, "everyone")
        if auth and "slow" in auth:
            await asyncio.sleep(0.1)
        await node.server.enter_room(sid, "everyone else")
        return not (auth and "refuse" in auth)

    async def slow(sid: str, args: list[Any]) -> Any:
        await asyncio.sleep(0.05)
        await node.server.enter_room(sid, "late")
        return {"ok": True}

    async def disconnecting(sid: str) -> None:
        await node.server.enter_room(sid, "ghost")
        raise ValueError("broken")

    node.script.connecting, node.script.disconnecting = connecting, disconnecting
    node.script.handlers["slow"] = slow


def _live() -> int:
    gc.collect()
    return sum(isinstance(thing, EngineSocket | Client) for thing in gc.get_objects())


async def test_after_210_connections_of_all_kinds_nothing_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Captured records hold tracebacks, and these the frames of the failing handlers.
    caplog.set_level(logging.CRITICAL + 1, logger="chatserver")
    async with running_node(connect_timeout=0.3, ping_interval=0.3, ping_timeout=0.3) as node:
        before = _live()
        _script(node)
        for _ in range(14):
            await asyncio.gather(*(way(node) for way in WAYS))
            node.adapter.emit_now("n", 1, ["everyone"])
        await node.until_empty()
        connects = sorted(call[1] for call in node.script.calls if call[0] == "connect")
        disconnects = sorted(call[1] for call in node.script.calls if call[0] == "disconnect")
        assert connects == disconnects
        assert len(connects) == len(set(connects)) == 14 * (len(WAYS) - 2)
        await asyncio.sleep(1.1)  # close frames that nobody answers
        assert _live() == before


@pytest.mark.parametrize("how", ["vanishes", "answers no ping", "closes its polling session"])
async def test_no_ghost_stays_of_a_client_that_goes_while_it_connects(how: str) -> None:
    async with running_node(ping_interval=0.1, ping_timeout=0.1) as node:
        release = asyncio.Event()

        async def connecting(sid: str, auth: Any) -> None:
            await node.server.enter_room(sid, "before")
            await release.wait()
            await node.server.enter_room(sid, "after")

        node.script.connecting = connecting
        if how == "closes its polling session":
            poller = await node.polling()
            await poller.send("40")
            await poller.send("1")
        else:
            client = await node.websocket()
            await client.send("40")
            await eventually(lambda: bool(node.adapter._members))
            if how == "vanishes":
                client.drop()
        await eventually(lambda: not node.engine.sockets)
        assert node.adapter.emit_now("n", 1, ["before"]) == 0
        release.set()
        await node.until_empty()
        # It may have gone before its connect handler began; if not, both ran.
        assert node.script.count("connect") == node.script.count("disconnect")


async def test_a_failing_disconnect_handler_is_logged_and_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_node() as node:
        _script(node)
        client = await node.connected()
        await client.ws.close()
        await node.until_empty()
    assert [record.__dict__["handler"] for record in caplog.records] == ["disconnect"]


async def test_an_idle_socket_has_no_task() -> None:
    async with running_node() as node:
        before = len(asyncio.all_tasks())
        clients = [await node.connected() for _ in range(10)]
        for client in clients:
            await client.call("a")
        await eventually(lambda: len(asyncio.all_tasks()) == before)


async def test_a_finished_handshake_is_forgotten() -> None:
    async with running_node() as node:

        class Token(str):
            __slots__ = ("__weakref__",)

        seen: list[weakref.ref[Token]] = []

        async def connecting(sid: str, auth: Any) -> None:
            token = Token("secret")
            seen.append(weakref.ref(token))
            cast("dict[str, str]", node.server.get_environ(sid))["HTTP_AUTHORIZATION"] = token
            assert node.environs() == [node.server.get_environ(sid)]

        node.script.connecting = connecting
        client = await node.connected()
        assert node.environs() == [None]
        node.script.environs.clear()
        with pytest.raises(NotImplementedError, match="token"):
            node.server.get_environ(client.sid)
        gc.collect()
        assert seen[0]() is None
