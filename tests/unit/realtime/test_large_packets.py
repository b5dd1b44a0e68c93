"""Packets over the limit: answered, and nothing of them is kept."""

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from chatserver.errors import PayloadTooLarge
from tests.unit.realtime.wire import Node, running_node

TOO_LARGE = PayloadTooLarge().to_dict()


def code_of(packet: str, prefix: str) -> str:
    """The code of the error that `packet` tells, which begins with `prefix`."""
    assert packet.startswith(prefix), packet
    (answer,) = json.loads(packet.removeprefix(prefix))[-1:]
    code: str = answer.get("error", answer)["code"]
    return code


async def test_a_packet_over_the_limit_is_answered_and_the_connection_lives(node: Node) -> None:
    client = await node.connected()
    await client.send('421["a","' + "x" * 99_980 + '"]')
    assert (await client.receive()).startswith('431[{"ok":true')
    await client.send('422["a","' + "x" * 100_000 + '"]')
    await client.send('423["a"]')
    await client.send('42["a","' + "x" * 1_000_000 + '"]')
    answers = [await client.receive() for _ in range(3)]
    assert json.loads(answers[0].removeprefix("432")) == [{"ok": False, "error": TOO_LARGE}]
    assert code_of(answers[2], "42") == "payload_too_large"
    assert answers[1].startswith('433[{"ok":true')
    assert [call[2] for call in node.script.calls if call[0] == "event"] == ["a", "a"]
    assert node.counts.errors == ["payload_too_large"] * 2


async def test_a_poll_may_bring_packets_over_the_limit_too(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    large = "x" * 150_000
    await client.send('421["a"]', f'422["a","{large}"]', f'42["a","{large}"]', '423["a"]')
    answers = await client.receive()
    assert answers[0].startswith('431[{"ok":true')
    assert code_of(answers[1], "432") == code_of(answers[2], "42") == "payload_too_large"
    assert answers[3].startswith('433[{"ok":true')


async def test_a_large_poll_of_small_packets_is_taken(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    text = "\u00fc" * 5_000
    await client.send(*(f'42{number}["a","{text}"]' for number in range(60)))
    answers: list[str] = []
    while len(answers) < 60:
        answers += await client.receive()
    assert [answer.partition("[")[0] for answer in answers] == [f"43{n}" for n in range(60)]


@pytest.mark.parametrize(
    "body",
    [
        b'42["a"]\x1e' + b'42["a","' + b"\xff" * 60_000 + b'"]\x1e6' + b"6" * 60_000,
        b"\x1e".join([b"6" * 40] * 4097),
        b'40{"token":"' + b"x" * 100_000 + b'"}',
        b"2" * 100_001,
    ],
    ids=["no text", "too many", "a large CONNECT", "a large ping"],
)
async def test_a_large_poll_is_held_to_the_protocol_as_a_small_one(node: Node, body: bytes) -> None:
    client = await node.polling()
    await client.connect()
    with suppress(aiohttp.ClientError):  # it may be cut off before the whole body is sent
        assert (await client.post(body + b'\x1e42["a"]'))[0] == 400
    assert (await client.get())[0] == 400


async def test_a_large_poll_that_comes_too_slowly_is_given_up() -> None:
    async with running_node(body_timeout=1.0) as node:
        client = await node.polling()
        await client.connect()
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: 1000000\r\n\r\n".encode())
        for _ in range(2):
            writer.write(b"6" * 70_000)
            await asyncio.sleep(0.4)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 0.3)
        writer.close()
        await node.until_empty()


@pytest.mark.parametrize("packet", ['40{"token":"' + "x" * 100_000 + '"}', "3" + "x" * 100_000])
async def test_a_large_packet_that_cannot_be_answered_closes_with_the_code_for_it(
    node: Node, packet: str
) -> None:
    client = await node.websocket()
    await client.receive_hello()
    await client.send(packet)
    assert await client.receive() == "closed 1009"
    await node.until_empty()
