"""Long-polling: what a poll brings, what a POST may bring, and what closes the session."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from chatserver.eio.frames import MAX_CUT_BYTES
from tests.unit.realtime.wire import Node, running_node


async def test_packets_of_one_turn_share_a_poll_of_at_most_sixteen(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    for number in range(20):
        node.adapter.emit_now("n", number, [client.sid])
    first, second = await client.receive(), await client.receive()
    assert [len(first), len(second)] == [16, 4]
    assert [*first, *second] == [f'42["n",{number}]' for number in range(20)]


async def test_a_waiting_poll_is_answered_by_the_next_event(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.receive())
    await asyncio.sleep(0.05)
    assert not poll.done()
    node.adapter.emit_now("a", 1, [client.sid])
    assert await poll == ['42["a",1]']


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"abc", {}),
        (b"6\xff", {}),
        (b"2", {}),
        (b"3\x1e", {}),
        (b"bAAAA", {}),
        (b'421["a","' + b"x" * 100_000, {}),
        (b"\x1e".join([b"6"] * 4097), {}),
        (b"4" + b"x" * 100_000, {}),
        (gzip.compress(b"6" + b"x" * 10_000, mtime=0), {"Content-Encoding": "gzip"}),
        (b'42["a"]', {}),  # an event before CONNECT
        (b'451-["a",{"_placeholder":true,"num":0}]', {}),
    ],
)
async def test_a_bad_post_is_refused_and_closes_the_session(
    node: Node, body: bytes, headers: dict[str, str]
) -> None:
    client = await node.polling()
    poll = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert (await client.post(body, **headers))[0] == 400
    assert await poll == (200, "1")
    assert (await client.get())[0] == 400
    await node.until_empty()


async def test_everything_that_was_emitted_in_one_turn_may_come_in_one_post(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    await client.send(*(f'42{number}["join"]' for number in range(4096)))
    acks: list[str] = []
    while len(acks) < 4096:
        acks += await client.receive()
    assert [ack.partition("[")[0] for ack in acks] == [f"43{number}" for number in range(4096)]


async def test_a_post_without_a_content_length_is_refused(node: Node) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"3"

    client = await node.polling()
    async with node.http.post(f"{node.url}?{client.query}", data=chunks()) as answer:
        assert answer.status == 400
    await node.until_empty()


@pytest.mark.parametrize("length", [10, 99_999])
async def test_a_body_shorter_than_its_length_is_given_up(length: int) -> None:
    async with running_node(body_timeout=0.3) as node:
        client = await node.polling()
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n3".encode())
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 2)
        writer.close()
        await node.until_empty()


async def test_a_huge_content_length_is_refused_before_the_body(node: Node) -> None:
    client = await node.polling()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: {MAX_CUT_BYTES + 1}\r\n\r\n".encode())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 15)
    writer.close()
    await node.until_empty()


async def test_a_client_that_vanishes_in_the_middle_of_a_post_is_no_error(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    client = await node.polling()
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n3".encode())
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await node.until_empty()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_two_polls_at_once_close_the_session(node: Node) -> None:
    client = await node.polling()
    first = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert (await client.get())[0] == 400
    assert await first == (200, "1")
    assert (await client.get())[0] == 400


async def test_two_posts_at_once_close_the_session(node: Node) -> None:
    client = await node.polling()
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /socket.io/?{client.query} HTTP/1.1\r\nHost: x\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n3".encode())
    await asyncio.sleep(0.05)
    assert (await client.post(b"3"))[0] == 400
    await node.until_empty()
    writer.close()


async def test_a_close_packet_ends_the_waiting_poll_and_the_session(node: Node) -> None:
    client = await node.polling()
    await client.connect()
    poll = asyncio.create_task(client.get())
    await asyncio.sleep(0.02)
    assert await client.post(b"1") == (200, "ok")
    assert await poll == (200, "6")
    assert (await client.get())[0] == 400
    assert node.script.calls[-1] == ("disconnect", client.sid, "client disconnect")
