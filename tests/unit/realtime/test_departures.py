"""Leaving one after another: each client is served until its turn, and then wholly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, WebSocketClient, running_node


class Leaver:
    """A client that sends one event after the other until it is closed."""

    def __init__(self, client: WebSocketClient) -> None:
        self.client = client
        self.acknowledged = 0
        self.end = ""
        self.ended_at = 0.0

    async def keep_sending(self) -> None:
        while True:
            await self.client.send(f'42{self.acknowledged}["n",{self.acknowledged}]')
            answer = await self.client.receive()
            if answer.startswith("closed"):
                self.end, self.ended_at = answer, asyncio.get_running_loop().time()
                return
            assert answer.startswith(f"43{self.acknowledged}["), answer
            self.acknowledged += 1
            await asyncio.sleep(0.3)


@asynccontextmanager
async def releasing(node: Node, seconds: float) -> AsyncIterator["asyncio.Task[None]"]:
    """While the clients of the node leave; all have left at the end."""
    task = asyncio.create_task(node.sockets.release(seconds))
    await asyncio.sleep(0.03)
    yield task
    await asyncio.wait_for(task, 3)


async def receive_all(client: WebSocketClient) -> list[str]:
    """What comes until the end, and how that was."""
    heard = [await client.receive()]
    while not heard[-1].startswith("closed"):
        heard.append(await client.receive())
    return heard


async def test_sockets_leave_spread_over_the_time_and_are_served_until_then() -> None:
    async with running_node() as node:
        leavers = [Leaver(await node.connected()) for _ in range(300)]
        sending = [asyncio.create_task(leaver.keep_sending()) for leaver in leavers]
        await asyncio.sleep(0.2)
        tasks = len(asyncio.all_tasks())
        start = asyncio.get_running_loop().time()
        async with releasing(node, 1.5):
            # One loop for all of them; the other tasks are events being handled.
            assert len(asyncio.all_tasks()) < tasks + 30
            await asyncio.gather(*sending)
        times = [leaver.ended_at - start for leaver in leavers]
        assert {leaver.end for leaver in leavers} == {"closed 1012"}
        fifths = [sum(n <= time / 0.3 < n + 1 for time in times) for n in range(5)]
        assert max(fifths) < 180, fifths  # 60 each; a busy machine may stop for a moment
        assert max(times) - min(times) > 1.0
        # In random order: it says nothing about when one came.
        assert 0.25 < sum(times[:150]) / sum(times) < 0.75
        assert times != sorted(times)
        # What was begun was acknowledged.
        assert sum(leaver.acknowledged for leaver in leavers) == node.script.count("event")
        assert min(leaver.acknowledged for leaver in leavers) > 0
        assert node.script.count("disconnect") == 300


async def test_a_push_reaches_those_whose_turn_has_not_come() -> None:
    async with running_node() as node:
        clients = {client.sid: client for client in [await node.connected() for _ in range(3)]}
        async with releasing(node, 0.9):
            await eventually(lambda: len(node.adapter.list_clients()) == 2)
            staying = [peer.sid for peer in node.adapter.list_clients()]
            await node.server.emit("news", 1)
            for sid in staying:
                assert await clients[sid].receive() == '42["news",1]'
                assert await clients[sid].call("still") == {
                    "ok": True, "event": "still", "args": [],
                }  # fmt: skip
            for client in clients.values():
                assert await client.receive() == "closed 1012"


async def test_at_its_turn_what_had_arrived_is_answered_and_nothing_more_is_begun() -> None:
    async with running_node() as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()

        node.script.handlers["slow"] = handler
        client = await node.connected()
        for number in range(3):
            await client.send(f'42{number}["slow"]')
        await eventually(lambda: node.script.count("event") == 1)
        await asyncio.sleep(0.02)
        async with releasing(node, 0.5):
            await client.send('429["slow"]')
            await node.server.emit("news", 1)
            await asyncio.sleep(0.03)
            release.set()
            assert await receive_all(client) == [
                '42["news",1]', "430[]", "431[]", "432[]", "closed 1012",
            ]  # fmt: skip
        assert node.script.count("event") == 3


async def test_a_slow_event_holds_up_nobody_else_and_is_left_to_the_drain() -> None:
    async with running_node() as node:

        async def handler(sid: str, args: list[Any]) -> Any:
            await asyncio.sleep(60)

        node.script.handlers["slow"] = handler
        slow = await node.connected()
        others = [await node.connected() for _ in range(5)]
        await slow.send('421["slow"]')
        await eventually(lambda: node.script.count("event") == 1)
        clock = asyncio.get_running_loop()
        start = clock.time()
        async with releasing(node, 0.3):
            for client in others:
                assert await client.receive() == "closed 1012"
            assert clock.time() - start < 0.5
        assert 1.0 < clock.time() - start < 1.6
        await node.sockets.drain(0.5)
        assert await receive_all(slow) == ["closed 1012"]


async def test_a_handshake_is_refused_and_its_connection_closed() -> None:
    async with running_node() as node:
        clients = [await node.connected() for _ in range(2)]
        async with releasing(node, 0.4):
            for transport in ("polling", "websocket"):
                url = f"{node.url}?EIO=4&transport={transport}"
                headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
                async with node.http.get(url, headers=headers) as answer:
                    assert (answer.status, answer.headers["Connection"]) == (503, "close")
                    assert answer.headers["Retry-After"] == "1"
            for client in clients:
                assert await client.receive() == "closed 1012"


async def test_a_client_that_has_not_said_who_it_is_may_do_so_until_its_turn() -> None:
    async with running_node() as node:
        clients = [await node.websocket() for _ in range(2)]
        async with releasing(node, 0.6):
            await eventually(lambda: len(node.engine.sockets) == 1)
            ends = []
            for client in clients:
                await client.receive_hello()
                await client.send("40")
                ends.append(await receive_all(client))
        assert sorted(len(heard) for heard in ends) == [1, 2]
        assert {heard[-1] for heard in ends} == {"closed 1012"}


async def test_a_poller_for_whom_nothing_waits_leaves_at_once() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        async with releasing(node, 0.3):
            assert node.engine.sockets == {}
        assert (await client.get())[0] == 400


async def test_a_poller_fetches_what_is_queued_before_it_has_to_leave() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        await client.send('421["a"]')
        await eventually(lambda: node.script.count("event") == 1)
        async with releasing(node, 0.1):
            await asyncio.sleep(0.3)
            assert (await client.receive())[0].startswith("431[")
            await eventually(lambda: not node.engine.sockets)


async def test_a_client_that_takes_nothing_leaves_all_the_same() -> None:
    async with running_node() as node:
        client = await node.polling()
        await client.connect()
        node.adapter.emit_now("n", 1, [client.sid])
        clock = asyncio.get_running_loop()
        start = clock.time()
        async with releasing(node, 0.5):
            pass
        assert 0.9 < clock.time() - start < 1.3
        assert not node.engine.sockets


async def test_whoever_hurries_leaves_the_rest_to_the_drain() -> None:
    async with running_node() as node:
        clients = [await node.connected() for _ in range(20)]
        task = asyncio.create_task(node.sockets.release(10))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(node.engine.sockets) == 19
        clock = asyncio.get_running_loop()
        start = clock.time()
        await node.sockets.drain(5)
        assert clock.time() - start < 0.5
        for client in clients:
            assert await client.receive() == "closed 1012"


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_node_without_sockets_has_nobody_to_wait_for(seconds: float) -> None:
    async with running_node() as node, asyncio.timeout(0.1):
        await node.sockets.release(seconds)


async def test_without_any_time_all_leave_at_once() -> None:
    async with running_node() as node:
        clients = [await node.connected() for _ in range(5)]
        async with asyncio.timeout(0.5):
            await node.sockets.release(0)
        for client in clients:
            assert await client.receive() == "closed 1012"
