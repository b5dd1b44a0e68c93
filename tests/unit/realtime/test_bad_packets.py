"""Packets that the server does not take: answered where they can be, else the end."""

import json
import logging

import pytest

from chatserver.eio.protocol import MAX_IDLE_PACKETS
from tests.unit.realtime.wire import Node


@pytest.mark.parametrize(
    "packet",
    [
        "4",
        "49",
        "42",
        "42[]",
        "42[1]",
        "42{}",
        '42"a"',
        '42["a"',
        '42["a",1e999]',
        '42["a",' + "[" * 90_000,
        "4299999999999999999999[]",
        "",
        "9",
        "0{}",
        "2",
        "2probe",
        "5",
        "junk",
    ],
)
async def test_an_invalid_packet_closes_the_connection_with_one_line_of_log(
    node: Node, caplog: pytest.LogCaptureFixture, packet: str
) -> None:
    client, other = await node.connected(), await node.connected()
    with caplog.at_level(logging.DEBUG, logger="chatserver"):
        await client.send(packet)
        assert await client.receive() == "closed 1002"
    assert len(caplog.records) == 1
    assert node.counts.errors == ["invalid_packet"]
    assert (await other.call("a"))["ok"] is True
    await other.ws.close()
    await node.until_empty()


@pytest.mark.parametrize("packet", ["3", "6", "430[]", "40/elsewhere,"])
async def test_packets_that_ask_for_nothing_are_not_taken_for_ever(node: Node, packet: str) -> None:
    client, other = await node.connected(), await node.connected()
    for _ in range(MAX_IDLE_PACKETS):
        await client.send(packet)
    assert (await other.call("a"))["ok"] is True
    assert node.counts.errors == []
    await client.send(packet)
    while (answer := await client.receive()).startswith("44/elsewhere,"):
        pass
    assert answer == "closed 1006"
    assert node.counts.errors == ["idle_packets"]
    await other.ws.close()
    await node.until_empty()


@pytest.mark.parametrize("frame", ["ping", "pong"])
async def test_neither_are_frames_that_ask_for_nothing(node: Node, frame: str) -> None:
    client, other = await node.connected(), await node.connected()
    send = getattr(client.ws, frame)
    for _ in range(MAX_IDLE_PACKETS):
        await send()
    assert (await client.call("a"))["ok"] is True
    await send()
    assert await client.receive() == "closed 1006"
    assert (await other.call("a"))["ok"] is True
    await other.ws.close()
    await node.until_empty()


@pytest.mark.parametrize("arguments", ["1e999", "[" * 90_000])
async def test_an_unreadable_event_with_an_id_is_answered_before_the_close(
    node: Node, arguments: str
) -> None:
    client = await node.connected()
    await client.send(f'427["message",{arguments}]')
    answer = await client.receive()
    assert json.loads(answer.removeprefix("437"))[0]["error"]["code"] == "invalid_payload"
    assert await client.receive() == "closed 1002"


BINARY = '["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


async def test_a_binary_event_is_answered_and_its_attachments_are_dropped(node: Node) -> None:
    client = await node.connected()
    (peer,) = node.adapter.list_clients()
    for packet in (f"452-7{BINARY}", f"452-{BINARY}", "461-1[{}]"):
        await client.send(packet)
        for _ in range(1 if packet.startswith("461") else 2):
            await client.ws.send_bytes(b"x" * 50_000)
    first, second = await client.receive(), await client.receive()
    assert json.loads(first.removeprefix("437"))[0]["error"]["code"] == "invalid_payload"
    assert json.loads(second.removeprefix("42"))[1]["code"] == "invalid_payload"
    assert (await client.call("b"))["ok"] is True
    assert peer._queue_bytes == 0
    assert [call[0] for call in node.script.calls] == ["connect", "event"]
    assert node.counts.errors == ["invalid_payload"] * 2


async def test_an_attachment_over_the_limit_is_dropped_as_well(node: Node) -> None:
    client = await node.connected()
    await client.send(f"452-7{BINARY}")
    for size in (10, 150_000):
        await client.ws.send_bytes(b"x" * size)
    assert (await client.receive()).startswith("437[")
    assert (await client.call("b"))["ok"] is True


async def test_a_binary_event_is_answered_on_polling_too(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    large = "b" + "A" * 150_000
    await client.send(f"452-7{BINARY}", "bAQID", "bBAUG", f"452-8{BINARY}", large, large)
    await client.send('429["b"]')
    answers = await client.receive()
    assert [answer.partition("[")[0] for answer in answers] == ["437", "438", "439"]


@pytest.mark.parametrize(
    ("packets", "end"),
    [
        (["45999999999-[]"], "closed 1003"),
        ([b"unannounced"], "closed 1003"),
        (["451-[]", b"announced", b"unannounced"], "closed 1003"),
        (["452-[]", b"the first", '42["too early"]'], "closed 1002"),
    ],
)
async def test_binary_that_was_not_announced_closes_the_connection(
    node: Node, packets: list[str | bytes], end: str
) -> None:
    client = await node.connected()
    for packet in packets:
        await (client.send(packet) if isinstance(packet, str) else client.ws.send_bytes(packet))
    heard = await client.receive()
    while not heard.startswith("closed"):
        heard = await client.receive()
    assert heard == end
    await node.until_empty()
