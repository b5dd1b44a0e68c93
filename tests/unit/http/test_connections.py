"""Connections at the level of TCP: slow heads, bad requests, and what must not be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from aiohttp import ClientSession, web

from chatserver.eio.frames import FrameReader
from chatserver.eio.opening_handshake import accept
from chatserver.eio.websocket import WebSocket, text_frame
from chatserver.http.connections import ConnectionRunner
from tests.kit.stalls import PATIENCE
from tests.unit.realtime.wire import on_both_loops

TIMEOUT = 0.3
UNHURRIED = 30.0

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "


class Echo:
    """Says what it hears."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def receive_packet(self, data: bytes) -> None:
        self._websocket.write([text_frame(data)])

    def receive_control(self, *, is_pong: bool) -> None: ...

    def websocket_lost(self) -> None: ...


async def answer(request: web.Request) -> web.StreamResponse:
    """Does what the path says, and says how long the body was."""
    if request.path == "/slow":
        await asyncio.sleep(3 * TIMEOUT)
    if request.path == "/broken":
        raise RuntimeError("a secret")
    if request.path == "/websocket":
        websocket, response = await accept(request, FrameReader(1000, cuts_messages=False))
        websocket.listen(Echo(websocket))
        return response
    if request.path == "/unread":
        return web.Response(text="unread!")
    return web.Response(text=f"{len(await request.read())}!")


class Client:
    """A TCP connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The answer to `request`, to the end of the text of `answer`."""
        self.send(request)
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(b"!")

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def drip(self, head: bytes) -> None:
        """Send `head` and then byte after byte, until the connection is closed."""
        self.send(head)
        async with asyncio.timeout(PATIENCE):
            while not (self._reader.at_eof() or self._writer.is_closing()):
                await asyncio.sleep(TIMEOUT / 5)
                self.send(b"a")

    async def rest(self) -> bytes:
        """All that comes until the connection is closed."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def running_server(timeout: float) -> AsyncIterator[int]:  # noqa: ASYNC109
    """The port of a server whose requests have `timeout` seconds to arrive."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = ConnectionRunner(
        app,
        handle_signals=False,
        shutdown_timeout=1.0,
        connection_options={"request_timeout": timeout, "access_log": None},
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(timeout: float = TIMEOUT) -> AsyncIterator[Client]:  # noqa: ASYNC109
    async with running_server(timeout) as port:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield client
        finally:
            client.close()


@on_both_loops
async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with connected() as client:
        assert await client.rest() == b""


@on_both_loops
async def test_a_first_head_that_drips_is_closed() -> None:
    async with connected() as client:
        await client.drip(HEAD)


@pytest.mark.virtual_time
async def test_a_later_head_that_drips_is_closed() -> None:
    async with connected() as client:
        await client.ask(GET)
        await client.drip(HEAD)


@pytest.mark.virtual_time
async def test_a_connection_that_made_a_request_may_be_silent() -> None:
    async with connected() as client:
        await client.ask(GET)
        await asyncio.sleep(3 * TIMEOUT)
        assert (await client.ask(GET)).endswith(b"0!")


@pytest.mark.virtual_time
async def test_a_head_in_pieces_that_is_complete_in_time_leaves_no_deadline_behind() -> None:
    async with connected() as client:
        for _ in range(2):
            client.send(GET[:20])
            await asyncio.sleep(TIMEOUT / 5)
            assert (await client.ask(GET[20:])).endswith(b"0!")
            await asyncio.sleep(2 * TIMEOUT)


@pytest.mark.virtual_time
async def test_neither_a_slow_answer_nor_a_slow_body_is_cut_by_the_heads_deadline() -> None:
    async with connected() as client:
        assert (await client.ask(GET.replace(b"/ ", b"/slow "))).endswith(b"0!")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(TIMEOUT / 2)
            client.send(b"a")
        assert (await client.ask(b"a")).endswith(b"6!")


@pytest.mark.virtual_time
async def test_a_websocket_is_not_cut_by_the_heads_deadline() -> None:
    async with running_server(TIMEOUT) as port, ClientSession() as http:
        websocket = await http.ws_connect(f"http://127.0.0.1:{port}/websocket")
        await asyncio.sleep(3 * TIMEOUT)
        await websocket.send_str("still here")
        assert await websocket.receive_str() == "still here"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Secret : token\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_refused_closed_and_one_line_of_the_log(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as records:
        async with connected(UNHURRIED) as client:
            client.send(request_bytes + GET)
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 ")
    assert b"Server: chatserver\r\n" in head + b"\r\n"
    assert b'"code":"bad_request"' in body
    assert body.count(b"{") == 1  # what came behind it is not answered
    assert [record["event"] for record in records] == ["bad_request"]
    assert not caplog.records


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /?cursor=" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 10_000 + b": x\r\n\r\n",
    ],
    ids=["target", "value", "name"],
)
async def test_a_line_that_is_too_long_is_told_so_and_not_quoted(request_bytes: bytes) -> None:
    with structlog.testing.capture_logs() as records:
        async with connected(UNHURRIED) as client:
            client.send(request_bytes)
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 431 ")
    assert b"Content-Type: application/problem+json\r\n" in head
    assert b'"code":"header_fields_too_large"' in body
    assert b"aaa" not in head + body
    assert [(each["event"], each["reason"]) for each in records] == [("bad_request", "LineTooLong")]


async def test_a_body_that_nobody_read_and_that_is_broken_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(UNHURRIED) as client:
        client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n")
        assert (await client.ask(b"Content-Length: 3\r\n\r\nabc")).endswith(b"unread!")
        assert await client.rest() == b""
    assert not caplog.records


async def test_a_failed_handler_answers_500_that_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(UNHURRIED) as client:
        client.send(GET.replace(b"/ ", b"/broken "))
        answered = await client.rest()
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answered
    assert b"Traceback" not in answered
    assert "a secret" in caplog.text
