"""Answers that nobody reads: aborted in time, and little is held until then."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from chatserver.http.connections import (
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    Connection,
    ConnectionRunner,
    limit_kernel,
)
from chatserver.http.unread_answers import AT_ONCE, LEAST_RATE, UnreadAnswers
from tests.kit.stalls import PATIENCE, STANDSTILL
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import on_both_loops

TIMEOUT = 0.4
SIZE = 1_000_000
MIDDLE = 20_000
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Site:
    """A server whose answers are of SIZE bytes, and what it holds."""

    def __init__(self, runner: ConnectionRunner, aborted: list[None]) -> None:
        self._runner = runner
        self.aborted = aborted

    @property
    def connections(self) -> list[Connection]:
        assert self._runner.server is not None
        return [each for each in self._runner.server.connections if isinstance(each, Connection)]

    @property
    def answered(self) -> int:
        assert self._runner.server is not None
        return self._runner.server.requests_count

    async def connect(self) -> socket.socket:
        """A client with small buffers, which reads nothing by itself."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", self._runner.addresses[0][1]))
        return client

    async def is_left(self) -> None:
        """Wait until no connection is open."""
        await eventually(lambda: not self.connections)


async def answer(request: web.Request) -> web.Response:
    if request.path == "/waits":
        await asyncio.Event().wait()
    if request.path == "/middle":
        return web.Response(body=bytes(MIDDLE))
    if request.path == "/small":
        return web.Response(text="small")
    return web.Response(body=bytes(SIZE))


@asynccontextmanager
async def running_site(write_timeout: float) -> AsyncIterator[Site]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    aborted: list[None] = []
    runner = ConnectionRunner(
        app,
        handle_signals=False,
        shutdown_timeout=0.1,
        connection_options={
            "request_timeout": PATIENCE,
            "write_timeout": write_timeout,
            "on_unread": lambda: aborted.append(None),
            "access_log": None,
        },
    )
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    limit_kernel(site)
    try:
        yield Site(runner, aborted)
    finally:
        await runner.cleanup()


async def read(client: socket.socket, size: int) -> int:
    """Take `size` bytes or what there is until the end; how many they were."""
    loop, taken = asyncio.get_running_loop(), 0
    async with asyncio.timeout(PATIENCE):
        while taken < size and (piece := await loop.sock_recv(client, size - taken)):
            taken += len(piece)
    return taken


@pytest.mark.parametrize("head", [GET, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
@on_both_loops
async def test_who_reads_nothing_is_closed(head: bytes) -> None:
    async with running_site(TIMEOUT) as site:
        with await site.connect() as client:
            await asyncio.get_running_loop().sock_sendall(client, head)
            await eventually(lambda: site.connections)
            await site.is_left()
    assert site.aborted == [None]


@on_both_loops
async def test_who_reads_slowly_gets_all_of_it() -> None:
    """In more than the timeout altogether; a machine may stand still between two reads."""
    timeout = STANDSTILL
    async with running_site(timeout) as site:
        with await site.connect() as client:
            await asyncio.get_running_loop().sock_sendall(client, GET)
            taken = 0
            while taken < SIZE:
                await asyncio.sleep(timeout / 8)
                taken += await read(client, SIZE // 10)
        await site.is_left()
    assert site.aborted == []


@on_both_loops
async def test_nothing_more_is_answered_while_an_answer_is_not_read() -> None:
    """SIZE is far above what the kernel is told to keep, so that one answer gets stuck."""
    async with running_site(PATIENCE) as site:
        with await site.connect() as client:
            await asyncio.get_running_loop().sock_sendall(client, GET * 60)
            await eventually(lambda: site.answered and site.connections[0].writing_paused)
            (connection,) = site.connections
            assert site.answered == 1
            # All but what the kernels of both sides hold is still with the server.
            assert connection.unsent_bytes() > SIZE * 0.6
            assert len(connection._messages) <= MAX_PIPELINED
            assert await read(client, 3 * SIZE) == 3 * SIZE


@on_both_loops
async def test_what_waits_in_the_process_is_one_answer_however_small() -> None:
    async with running_site(PATIENCE) as site:
        with await site.connect() as client:
            await asyncio.get_running_loop().sock_sendall(
                client, GET.replace(b"/", b"/middle", 1) * 60
            )
            await eventually(lambda: site.connections and site.connections[0].unsent_bytes())
            (connection,) = site.connections
            assert connection.writing_paused
            assert connection.unsent_bytes() < 2 * MIDDLE


async def test_requests_wait_in_the_kernel_not_in_the_process() -> None:
    async with running_site(PATIENCE) as site:
        with await site.connect() as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, GET.replace(b"/", b"/waits", 1) + GET * 500)
            await eventually(lambda: site.answered)
            (connection,) = site.connections
            assert 0 < len(connection._messages) <= MAX_PIPELINED


def head_of(size: int, path: bytes = b"/small") -> bytes:
    line = b"X-Long: " + b"x" * 7000 + b"\r\n"
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + line * (size // len(line)) + b"\r\n"


async def ask(client: socket.socket, head: bytes, step: int) -> int:
    """Send `head` in pieces of `step` bytes; the status of the answer, 0 for a reset.

    Who goes on sending may be reset before the answer is read.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            for start in range(0, len(head), step):
                await loop.sock_sendall(client, head[start : start + step])
                await asyncio.sleep(0)
            return int((await loop.sock_recv(client, 4000)).split()[1])
    except ConnectionError:
        return 0


@on_both_loops
async def test_a_head_that_is_too_long_is_refused_whether_whole_or_in_pieces() -> None:
    short, long = head_of(MAX_HEAD_BYTES - 100), head_of(MAX_HEAD_BYTES + 8000)
    async with running_site(PATIENCE) as site:
        for head, step, expected in (
            (short, len(short), {200}),
            (short, 700, {200}),
            (long, len(long), {431}),
            (long, 700, {431, 0}),
        ):
            with await site.connect() as client:
                assert await ask(client, head, step) in expected


async def test_a_head_that_grows_behind_a_request_is_bounded_too() -> None:
    async with running_site(PATIENCE) as site:
        with await site.connect() as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, GET.replace(b"/", b"/waits", 1))
            await eventually(lambda: site.answered)
            with suppress(ConnectionError):
                await loop.sock_sendall(client, head_of(MAX_HEAD_BYTES + 8000)[:-2])
                assert await read(client, 1) == 0


class Reader:
    """The sending side of a connection whose client takes what the test says."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_aborted = False

    def unsent_bytes(self) -> int:
        return self.size

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.virtual_time
@pytest.mark.parametrize(("rate", "is_aborted"), [(0, True), (0.5, True), (1.1, False)])
async def test_who_takes_the_least_rate_is_kept_for_as_long_as_it_takes(
    rate: float, is_aborted: bool
) -> None:
    reader, unread = Reader(10**6), UnreadAnswers(10.0, lambda: None)
    unread.watch(reader)
    for _ in range(40):
        await asyncio.sleep(1)
        reader.size -= int(rate * LEAST_RATE)
    assert reader.is_aborted is is_aborted
    assert len(unread) == (0 if is_aborted else 1)


@pytest.mark.virtual_time
async def test_many_are_not_closed_in_one_moment() -> None:
    readers = [Reader(10**6) for _ in range(100)]
    aborted: list[float] = []
    unread = UnreadAnswers(10.0, lambda: aborted.append(asyncio.get_running_loop().time()))
    for reader in readers:
        unread.watch(reader)
    await asyncio.sleep(15)
    assert all(reader.is_aborted for reader in readers)
    assert max(aborted.count(moment) for moment in aborted) <= AT_ONCE
