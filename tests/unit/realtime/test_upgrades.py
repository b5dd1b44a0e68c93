"""From long-polling to a websocket, with and without a probe."""

import asyncio

import aiohttp
import pytest

from tests.unit.realtime.wire import Node, running_node


async def test_an_upgrade_keeps_the_session_and_the_order(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(0.02)
    websocket = await client.probe()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert await poll == ["6"]
    node.adapter.emit_now("n", 1, [client.sid])
    await asyncio.sleep(0.02)
    node.adapter.emit_now("n", 2, [client.sid])
    await websocket.send("5")
    node.adapter.emit_now("n", 3, [client.sid])
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
