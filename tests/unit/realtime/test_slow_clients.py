"""Clients that do not read: dropped in time, at no cost to the others."""

import asyncio

import pytest

from chatserver.eio.protocol import MAX_POLL_PACKETS
from chatserver.eio.session import LEAST_RATE, EngineSocket
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, RawClient, on_both_loops, running_node

KILOBYTE = "x" * 1000

HEARTBEAT = {"ping_interval": 0.2, "ping_timeout": 3.0}
"""Seconds, where the buffers of the operating system need real time: a machine that stands
still for less keeps no answer back too long."""


async def fall_behind(node: Node, socket: EngineSocket, sid: str, size: float) -> None:
    """Emit to `sid` until `size` bytes wait for it; fails when it was dropped."""
    while socket.queued_bytes < size:
        assert not socket.closed, node.counts.errors  # nothing waits for it any more
        node.adapter.emit_now("n", KILOBYTE * 50, [sid])
        await asyncio.sleep(0)


async def keep_answering(client: RawClient, socket: EngineSocket) -> None:
    """Send pongs until the end, far fewer in a heartbeat than MAX_IDLE_PACKETS."""
    while not socket.closed:
        await client.send("3")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answers_pings", [False, True])
@on_both_loops
async def test_a_websocket_that_does_not_read_is_dropped_at_the_limit(answers_pings: bool) -> None:
    async with running_node(max_queue_bytes=200_000, ping_interval=0.1, ping_timeout=30.0) as node:
        reader = await node.connected()
        await node.server.enter_room(reader.sid, "room")
        client = await RawClient.open(node.port)
        slow = node.script.calls[-1][1]
        await node.server.enter_room(slow, "room")
        socket = node.socket_of(slow)
        most, sent = 0, 0
        while not socket.closed:
            assert sent < 20_000, "never dropped"
            sent += 1
            assert node.adapter.emit_now("n", KILOBYTE, ["room"]) >= 1
            most = max(most, socket.queued_bytes)
            assert (await reader.receive()).startswith('42["n"')
            if answers_pings and sent % 100 == 0:
                await client.send("3")
        assert 190_000 < most <= 200_000 + 1_100
        assert node.counts.errors == ["queue_overflow"]
        assert node.adapter.emit_now("n", 1, ["room"]) == 1
        await eventually(lambda: node.script.count("disconnect") == 1)
        assert await client.was_closed()
        client.close()


@on_both_loops
async def test_more_than_the_limit_in_one_turn_is_never_kept() -> None:
    async with running_node(max_queue_bytes=100_000) as node:
        client = await node.connected()
        (socket,) = node.engine.sockets.values()
        for _ in range(1000):
            node.adapter.emit_now("n", KILOBYTE, [client.sid])
        assert sum(map(len, socket._out)) <= 100_000
        await eventually(lambda: socket.closed)
        await node.until_empty()


@on_both_loops
async def test_a_stalled_websocket_is_dropped_although_it_answers_pings() -> None:
    async with running_node(max_queue_bytes=8_000_000, **HEARTBEAT) as node:
        client = await RawClient.open(node.port)
        slow = node.script.calls[-1][1]
        (socket,) = node.engine.sockets.values()
        await fall_behind(node, socket, slow, 200_000)
        await asyncio.wait_for(keep_answering(client, socket), PATIENCE)
        assert node.counts.errors == ["write_stalled"]
        client.close()
        await node.until_empty()


@pytest.mark.parametrize(("rate", "is_dropped"), [(0.5, True), (1.5, False)])
async def test_a_poller_must_take_the_least_rate(rate: float, is_dropped: bool) -> None:
    """On virtual time. Its polls take a share of the queue, MAX_POLL_PACKETS at a time."""
    beat = 10.0
    async with running_node(
        max_queue_bytes=8_000_000, ping_interval=beat, ping_timeout=beat
    ) as node:
        client = await node.polling()
        await client.connect()
        (socket,) = node.engine.sockets.values()
        size = int(rate * LEAST_RATE * beat / 2 / MAX_POLL_PACKETS)
        for _ in range(8 * MAX_POLL_PACKETS):
            node.adapter.emit_now("n", "x" * size, [client.sid])
        for _ in range(6):
            await asyncio.sleep(beat / 2)
            if not socket.closed:
                await client.post(b"3")
                await client.get()
        assert (node.counts.errors == ["write_stalled"]) is is_dropped


@on_both_loops
async def test_a_websocket_that_is_behind_but_moving_stays() -> None:
    """Its queue grows by more than the operating system takes at a time, and is never empty."""
    async with running_node(max_queue_bytes=8_000_000, **HEARTBEAT) as node:
        client = await RawClient.open(node.port)
        behind = node.script.calls[-1][1]
        (socket,) = node.engine.sockets.values()
        answering = asyncio.create_task(keep_answering(client, socket))
        loop = asyncio.get_running_loop()
        start, duration = loop.time(), sum(HEARTBEAT.values()) + 1
        while (elapsed := loop.time() - start) < duration:
            await fall_behind(node, socket, behind, 1_000_000 * (1 + elapsed))
            for _ in range(50):
                await loop.sock_recv(client.sock, 65536)
        assert not socket.closed, node.counts.errors
        answering.cancel()
        client.close()


@pytest.mark.parametrize("answers_pings", [False, True])
@on_both_loops
async def test_a_poller_that_does_not_poll_is_dropped_at_the_limit(answers_pings: bool) -> None:
    async with running_node(max_queue_bytes=50_000, ping_interval=0.2, ping_timeout=30) as node:
        client = await node.polling()
        await client.connect()
        (socket,) = node.engine.sockets.values()
        while not socket.closed:
            node.adapter.emit_now("n", KILOBYTE, [client.sid])
            await asyncio.sleep(0)
            assert socket.queued_bytes <= 51_100
            if answers_pings:
                await client.post(b"3")
        assert node.counts.errors[0] == "queue_overflow"
        await node.until_empty()


async def test_a_poller_that_answers_pings_it_never_fetched_is_dropped() -> None:
    async with running_node(ping_interval=20.0, ping_timeout=20.0) as node:
        client = await node.polling()
        await client.connect()
        (socket,) = node.engine.sockets.values()

        async def keep_answering() -> None:
            while not socket.closed:
                await client.post(b"3")
                await asyncio.sleep(5)

        await asyncio.wait_for(keep_answering(), 300)
        assert node.counts.errors == ["write_stalled"]


@on_both_loops
async def test_events_held_during_connect_are_limited_too() -> None:
    async with running_node(max_queue_bytes=50_000) as node:
        release = asyncio.Event()

        async def connecting(sid: str, auth: object) -> None:
            await node.server.enter_room(sid, "room")
            await release.wait()

        node.script.connecting = connecting
        client = await node.websocket()
        await client.receive_hello()
        await client.send("40")
        await eventually(lambda: bool(node.adapter._members))
        (socket,) = node.engine.sockets.values()
        for _ in range(100):
            node.adapter.emit_now("n", KILOBYTE, ["room"])
        await eventually(lambda: socket.closed)
        release.set()
        await node.until_empty()
