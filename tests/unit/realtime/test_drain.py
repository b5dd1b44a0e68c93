"""Going down: in-flight work is finished, clients come back by themselves, it ends in time."""

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
import pytest

from tests.kit.waiting import eventually
from tests.unit.realtime.wire import running_node


async def test_events_in_flight_are_acknowledged_before_the_close() -> None:
    async with running_node() as node:

        async def handler(sid: str, args: list[Any]) -> Any:
            await asyncio.sleep(0.1)
            return {"ok": True, "n": args[0]}

        node.script.handlers["n"] = handler
        client = await node.connected()
        for number in range(3):
            await client.send(f'42{number}["n",{number}]')
        await eventually(lambda: node.script.count("event") == 1)
        await asyncio.sleep(0.02)
        draining = asyncio.create_task(node.sockets.drain(5))
        for number in range(3):
            assert await client.receive() == f'43{number}[{{"ok":true,"n":{number}}}]'
        assert await client.receive() == "closed 1012"
        await asyncio.wait_for(draining, 1)
        assert node.script.calls[-1] == ("disconnect", client.sid, "server disconnect")


async def test_handshakes_and_new_events_are_refused_while_draining() -> None:
    async with running_node() as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()

        node.script.handlers["slow"] = handler
        client = await node.connected()
        await client.send('421["slow"]')
        await eventually(lambda: node.script.count("event") == 1)
        draining = asyncio.create_task(node.sockets.drain(5))
        await asyncio.sleep(0.02)
        status, body = await node.request("GET", "EIO=4&transport=polling")
        assert (status, json.loads(body)["message"]) == (503, "The server is going down")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await node.websocket()
        assert refused.value.status == 503
        await client.send('422["late"]')
        await asyncio.sleep(0.02)
        release.set()
        assert await client.receive() == "431[]"
        assert await client.receive() == "closed 1012"
        await draining
        assert [call[2] for call in node.script.calls if call[0] == "event"] == ["slow"]


async def test_a_poller_gets_its_acknowledgement_and_then_the_close() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        await client.send('421["a"]')
        await eventually(lambda: node.script.count("event") == 1)
        draining = asyncio.create_task(node.sockets.drain(5))
        await asyncio.sleep(0.02)
        assert (await client.receive())[0].startswith("431[")
        waiting = await client.get()
        assert waiting in [(200, "6"), (400, '{"code":1,"message":"Session ID unknown"}')]
        await draining


async def test_a_handler_that_does_not_end_is_cancelled_in_time() -> None:
    async with running_node() as node:
        cancelled: list[str] = []

        async def handler(sid: str, args: list[Any]) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(sid)
                raise

        gone: set[str] = set()

        async def disconnecting(sid: str) -> None:
            await asyncio.sleep(0.25)
            gone.add(sid)

        node.script.handlers["stuck"] = handler
        node.script.disconnecting = disconnecting
        client, idle = await node.connected(), await node.connected()
        await client.send('421["stuck"]')
        await eventually(lambda: node.script.count("event") == 1)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await node.sockets.drain(1.0)
        assert 0.5 < loop.time() - start < 1.1
        assert cancelled == [client.sid]
        assert gone == {client.sid, idle.sid}


@pytest.mark.parametrize("where", ["event", "connect", "disconnect"])
async def test_a_handler_that_swallows_its_cancellation_cannot_hold_the_end(where: str) -> None:
    enough = asyncio.Event()
    async with running_node() as node:

        async def stubborn() -> None:
            while not enough.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

        async def handler(sid: str, args: list[Any]) -> Any:
            await stubborn()

        async def connecting(sid: str, auth: Any) -> None:
            await stubborn()

        async def disconnecting(sid: str) -> None:
            await stubborn()

        node.script.handlers["stuck"] = handler
        if where == "connect":
            node.script.connecting = connecting
            client = await node.websocket()
            await client.send("40")
            await eventually(lambda: node.adapter.list_clients() != [])
        else:
            client = await node.connected()
            if where == "event":
                await client.send('421["stuck"]')
                await eventually(lambda: node.script.count("event") == 1)
            else:
                node.script.disconnecting = disconnecting
        loop = asyncio.get_running_loop()
        start = loop.time()
        await node.sockets.drain(0.5)
        assert loop.time() - start < 1.0
        enough.set()
        for task in list(node.sockets._workers):
            task.cancel()
        await eventually(lambda: not node.sockets._workers)


async def test_a_client_that_does_not_read_does_not_hold_the_end() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        node.adapter.emit_now("n", 1, [client.sid])
        loop = asyncio.get_running_loop()
        start = loop.time()
        await node.sockets.drain(10.0)
        assert loop.time() - start < 1.5


async def test_shutdown_takes_about_a_second_whatever_handlers_do() -> None:
    async with running_node() as node:

        async def handler(sid: str, args: list[Any]) -> Any:
            await asyncio.sleep(60)

        node.script.handlers["stuck"] = handler
        client = await node.connected()
        await client.send('421["stuck"]')
        await eventually(lambda: node.script.count("event") == 1)
        async with asyncio.timeout(1.5):
            await node.server.shutdown()
        assert node.script.count("disconnect") == 1


async def test_draining_an_empty_node_takes_no_time() -> None:
    async with running_node() as node:
        async with asyncio.timeout(0.1):
            await node.sockets.drain(10)
            await node.server.shutdown()
