"""A TCP proxy that can do to a connection what networks and crashes do to it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url

from tests.kit.listeners import stop_accepting

CHUNK = 65536

Upstream = Path | tuple[str, int]
"""A Unix socket, or a host and a port."""


@dataclass(eq=False)
class Cut:
    """A connection that ends once `needle` was on its way from the client.

    With `is_answered` the upstream does get the request, and its answer is dropped:
    the client cannot know. Without, the request never arrives.
    """

    needle: bytes
    is_answered: bool
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to `upstream`.

    What it is told (`blackhole`, `delay` …) holds for all connections at once, those
    already open included. Bytes keep their order, and a half-closed connection stays
    half open.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.port = 0
        self.accepted = 0
        """Number of connections that there have been."""
        self._delay = 0.0
        self._handshake = 0.0
        self._is_refusing = False
        self._is_holding_answers = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._cuts: list[Cut] = []
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._links)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything, with resets."""
        assert self._server is not None
        await stop_accepting(self._server)
        self._server.close()
        self.reset()
        if self._links:
            await asyncio.wait(self._links.values())
        await self._server.wait_closed()

    def heal(self) -> None:
        """Pass everything again; what a black hole held arrives, as TCP would repeat it."""
        self._is_refusing = False
        self._delay = self._handshake = 0.0
        self._cuts.clear()
        self._is_holding_answers = False
        for link in self._links:
            link.answering.set()
        self._passing.set()

    def blackhole(self) -> None:
        """Let nothing through in either direction, and tell nobody: no end, no reset.

        New connections are accepted, as by the kernel of a machine that hangs.
        """
        self._passing.clear()

    def hold_answers(self, *, of_new: bool = True) -> None:
        """Let requests through and nothing back, on all open connections.

        And on new ones until `heal`, unless `of_new` is False.
        """
        self._is_holding_answers = of_new
        for link in self._links:
            link.answering.clear()

    def delay(self, seconds: float, *, handshakes: bool = False) -> None:
        """Deliver everything this much later, in order, at any throughput.

        With `handshakes` a new connection takes a round trip to open, as TCP's do.
        """
        self._delay = seconds
        self._handshake = 2 * seconds if handshakes else 0.0

    def reset(self) -> None:
        """End all open connections at once, as the crash of a machine does."""
        for link in list(self._links):
            link.reset()

    def refuse(self) -> None:
        """`reset`, and do the same to every new connection."""
        self._is_refusing = True
        self.reset()

    def cut_after(self, needle: bytes) -> Cut:
        """Pass on the client's next `needle`, but cut off the answer."""
        return self._add(Cut(needle, is_answered=True))

    def cut_before(self, needle: bytes) -> Cut:
        """Cut the connection when the client next sends `needle`, instead of passing it on."""
        return self._add(Cut(needle, is_answered=False))

    def _add(self, cut: Cut) -> Cut:
        self._cuts.append(cut)
        return cut

    def url(self, database_url: str) -> str:
        """`database_url`, by way of this proxy."""
        url = make_url(database_url).set(host="127.0.0.1", port=self.port, query={})
        return url.render_as_string(hide_password=False)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = Link(self, reader, writer)
        if not self._is_holding_answers:
            link.answering.set()
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            if not self._is_refusing:
                await link.run()
        except OSError:
            pass  # Either side went away, which is what this is for.
        finally:
            link.reset()
            del self._links[link]

    def take_cut(self, data: bytes) -> Cut | None:
        """The cut that this piece of a request sets off, if any; each works once."""
        for cut in self._cuts:
            if cut.needle in data:
                self._cuts.remove(cut)
                return cut
        return None

    @property
    def delay_seconds(self) -> float:
        return self._delay

    async def wait_passing(self) -> None:
        await self._passing.wait()

    async def wait_open(self) -> None:
        """Wait as long as a new connection takes to open."""
        await asyncio.sleep(self._handshake)
        await self._passing.wait()


class Link:
    """One client's connection and the upstream one that belongs to it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.answering = asyncio.Event()
        """Set while answers may pass."""
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._upstream: asyncio.StreamWriter | None = None
        self._cut: Cut | None = None
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Pass bytes both ways until both sides are done or the link is reset."""
        pumps = asyncio.create_task(self._pump_both())
        over = asyncio.create_task(self._is_over.wait())
        try:
            await asyncio.wait([pumps, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            pumps.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await pumps

    def reset(self) -> None:
        """End both connections with a reset: nothing that is under way arrives."""
        self._is_over.set()
        for writer in (self._writer, self._upstream):
            if writer is not None:
                _reset(writer)

    async def _pump_both(self) -> None:
        await self._proxy.wait_open()
        reader, self._upstream = await _connect(self._proxy.upstream)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(self._reader, self._upstream, is_request=True))
            group.create_task(self._pump(reader, self._writer, is_request=False))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        reading = asyncio.create_task(self._read(reader, pieces))
        try:
            while data := await self._next(pieces):
                if not is_request:
                    await self.answering.wait()
                if is_request and self._asks_for_cut(data):
                    break
                if not is_request and self._cut:
                    self._end(self._cut)
                    break
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            self.reset()
        finally:
            reading.cancel()

    async def _read(
        self, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        clock = asyncio.get_running_loop()
        data = b"first"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                self.reset()
                return
            await pieces.put((clock.time(), data))

    async def _next(self, pieces: asyncio.Queue[tuple[float, bytes]]) -> bytes:
        """The next piece, not before it is due; empty at the end."""
        arrived_at, data = await pieces.get()
        due_in = arrived_at + self._proxy.delay_seconds - asyncio.get_running_loop().time()
        if due_in > 0:
            await asyncio.sleep(due_in)
        await self._proxy.wait_passing()
        return data

    def _asks_for_cut(self, data: bytes) -> bool:
        """Note the cut that a request sets off; whether the request ends here."""
        cut = self._proxy.take_cut(data)
        if cut is None:
            return False
        if cut.is_answered:
            self._cut = cut
            return False
        self._end(cut)
        return True

    def _end(self, cut: Cut) -> None:
        cut.done.set()
        self.reset()


async def _connect(upstream: Upstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(upstream, Path):
        return await asyncio.open_unix_connection(upstream)
    return await asyncio.open_connection(*upstream)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.family is not socket.AF_UNIX:
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def postgres_upstream(database_url: str) -> Upstream:
    """Return host and port of the PostgreSQL of `database_url`."""
    url = make_url(database_url)
    if url.host:
        return url.host, url.port or 5432
    folder, port = url.query["host"], url.query.get("port", "5432")
    assert isinstance(folder, str)
    return Path(folder) / f".s.PGSQL.{port}"


@asynccontextmanager
async def running_proxy(upstream: Upstream) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
