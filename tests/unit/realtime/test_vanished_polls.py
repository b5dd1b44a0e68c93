"""Clients that go away from long-polling: known at once, or soon."""

import asyncio

import pytest

from chatserver.eio.polling import POLL_GAP
from tests.unit.realtime.wire import Node, PollingClient


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
    node.adapter.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP - 0.5)
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(1)
    node.adapter.emit_now("n", 2, [client.sid])
    assert await poll == ['42["n",2]']


async def test_a_client_that_goes_away_between_two_polls_has_gone_soon(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    node.adapter.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP - 0.1)
    assert node.engine.sockets
    await asyncio.sleep(0.2)
    assert not node.engine.sockets
    assert node.script.calls[-1] == ("disconnect", client.sid, "transport close")


async def test_the_end_of_a_connection_that_was_not_to_be_kept_says_nothing(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client, "Connection: close")
    node.adapter.emit_now("n", 1, [client.sid])
    await asyncio.sleep(POLL_GAP + 0.5)
    assert node.engine.sockets
    writer.close()


async def test_a_connection_that_serves_others_too_says_nothing_of_a_poll(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    writer = await begin_poll(node, client)
    node.adapter.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.05)
    writer.write(b"OPTIONS /socket.io/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.sleep(POLL_GAP + 0.5)
    assert node.engine.sockets


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
