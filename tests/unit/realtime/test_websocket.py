"""An open websocket by itself: handed over by aiohttp, read, paused, and ended."""

import asyncio
import gc
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatserver.eio.frames import FrameReader
from chatserver.eio.opening_handshake import accept
from chatserver.eio.websocket import BINARY_MARK, CLOSE_GRACE, WebSocket, frame_payload, text_frame
from chatserver.http.admissions import Admissions
from chatserver.http.connections import ConnectionRunner
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually
from tests.unit.realtime.test_frames import frame
from tests.unit.realtime.wire import on_both_loops, running_node

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # RFC 6455, section 1.3
LIMIT = 100_000
MUCH = 8_000_000
"""More than the buffers of a connection take."""


class Ear:
    """Hears what comes on one websocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.heard: list[bytes | str] = []

    def receive_packet(self, data: bytes) -> None:
        self.heard.append(data)
        if data == b"pause":
            self.websocket.pause()

    def receive_control(self, *, is_pong: bool) -> None:
        self.heard.append("pong" if is_pong else "ping")

    def websocket_lost(self) -> None:
        self.heard.append("lost")


class Client:
    """A TCP connection on which the handshake has been sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive_head(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))


class Site:
    """A server on which every request opens a websocket."""

    def __init__(self, runner_of: Callable[[web.Application], web.AppRunner]) -> None:
        app = web.Application()
        app.router.add_get("/", self._open)
        self.runner = runner_of(app)
        self.ears: list[Ear] = []
        self.requests: list[weakref.ref[web.Request]] = []
        self.clients: list[Client] = []
        self.tls: ssl.SSLContext | None = None

    async def _open(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(weakref.ref(request))
        websocket, response = await accept(request, FrameReader(LIMIT, cuts_messages=False))
        self.ears.append(Ear(websocket))
        websocket.listen(self.ears[-1])
        return response

    async def connect(self, more: bytes = b"") -> tuple[Client, Ear]:
        """A client whose websocket is open; `more` was sent together with the handshake."""
        port, count = self.runner.addresses[0][1], len(self.ears)
        trusting = ssl.create_default_context() if self.tls else None
        if trusting is not None:
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting))
        self.clients.append(client)
        client.send(HANDSHAKE, more)
        head = await client.receive_head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert ACCEPTED in head
        return client, self.ears[count]


def ours(app: web.Application, **options: Any) -> web.AppRunner:
    options = {"request_timeout": 8.0, **options}
    return ConnectionRunner(app, shutdown_timeout=2.0, connection_options=options)


@asynccontextmanager
async def running_site(
    runner_of: Callable[[web.Application], web.AppRunner] = ours,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Site]:
    site = Site(runner_of)
    site.tls = tls
    await site.runner.setup()
    await web.TCPSite(site.runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield site
    finally:
        for client in site.clients:
            client.writer.close()
        await site.runner.cleanup()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_the_payload_of_a_frame_is_found_again(size: int) -> None:
    payload = b"x" * size
    frame = text_frame(payload)
    assert frame_payload(frame) == payload
    assert frame[0] == 0x81
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65536 else 10)


# The hand-over


@pytest.mark.parametrize("runner_of", [ours, web.AppRunner], ids=["our runner", "aiohttp's"])
async def test_nothing_of_the_request_is_left_when_a_websocket_is_open(
    runner_of: Callable[[web.Application], web.AppRunner],
) -> None:
    async with running_site(runner_of) as site:
        tasks = asyncio.all_tasks()
        client, ear = await site.connect(frame(1, b"early"))
        client.send(frame(1, b"late"), frame(9, b"?"), frame(10), frame(2, b"binary"))
        assert await client.receive(3) == b"\x8a\x01?"
        await eventually(lambda: ear.heard == [b"early", b"late", "ping", "pong", BINARY_MARK])
        assert asyncio.all_tasks() == tasks
        assert site.runner.server is not None
        assert site.runner.server.connections == []
        gc.collect()
        assert site.requests[0]() is None
        ear.websocket.write([text_frame(b"a"), text_frame(b"b")])
        assert await client.receive(6) == b"\x81\x01a\x81\x01b"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a server of TLS needs, with a certificate that nobody signed."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@on_both_loops
async def test_a_websocket_over_tls_is_read_paused_and_closed(tls: ssl.SSLContext) -> None:
    async with running_site(tls=tls) as site:
        client, ear = await site.connect(frame(1, b"early"))
        texts = [b"%d" % number * 1000 for number in range(9)]
        client.send(frame(1, b"pause"), *(frame(1, text) for text in texts))
        await eventually(lambda: ear.heard == [b"early", b"pause"])
        ear.websocket.write([text_frame(b"x" * MUCH)])
        assert (await client.receive(MUCH + 10)).endswith(b"xxx")
        assert ear.heard == [b"early", b"pause"]
        ear.websocket.resume()
        await eventually(lambda: ear.heard[2:] == texts)
        ear.websocket.close(1012)
        assert await client.receive(4) == b"\x88\x02\x03\xf4"
        client.send(frame(8, b"\x03\xf4"))
        assert await client.rest() == b""
        await eventually(lambda: ear.heard[-1] == "lost")


# Reading


@on_both_loops
async def test_who_is_paused_hears_nothing_and_the_client_has_to_wait() -> None:
    async with running_site() as site:
        client, ear = await site.connect()
        texts = [b"%04d" % number * 10_000 for number in range(MUCH // 40_000)]
        head = b"\x81\xff" + struct.pack("!Q", 40_000) + bytes(4)
        client.send(frame(1, b"pause"), *(head + text for text in texts))
        await eventually(lambda: ear.heard == [b"pause"])
        await asyncio.sleep(0.1)
        waiting = client.writer.transport.get_write_buffer_size()
        assert waiting > MUCH / 4
        ear.websocket.resume()
        ear.websocket.pause()
        ear.websocket.resume()
        await eventually(lambda: ear.heard[1:] == texts)


@pytest.mark.parametrize("is_found_while_paused", [True, False])
async def test_what_came_before_the_end_is_heard_before_it_also_after_a_pause(
    is_found_while_paused: bool,
) -> None:
    async with running_site() as site:
        client, ear = await site.connect()
        client.send(frame(1, b"pause"), frame(1, b"last"))
        await eventually(lambda: ear.heard == [b"pause"])
        client.writer.transport.abort()
        if is_found_while_paused:
            await eventually(lambda: _finds_it_gone(ear.websocket))
        assert ear.heard == [b"pause"]
        ear.websocket.resume()
        await eventually(lambda: ear.heard == [b"pause", b"last", "lost"])


def _finds_it_gone(websocket: WebSocket) -> bool:
    websocket.write([text_frame(b"x")])
    return websocket._is_lost


@pytest.mark.parametrize(
    "part",
    [b"\x81", b"\x81\xfe\x01", frame(1, b"text")[:-1], b""],
    ids=["head", "length", "payload", "nothing"],
)
async def test_the_end_amid_a_frame_is_the_end(part: bytes) -> None:
    async with running_site() as site:
        client, ear = await site.connect()
        client.send(frame(1, b"whole"), part)
        client.writer.write_eof()
        assert await client.rest() == b""
        assert ear.heard == [b"whole", "lost"]


# The end


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", 1002),
        (frame(1, b"x" * (LIMIT + 1)), 1009),
        (frame(8, b"\x03\xe8\xff"), 1007),
    ],
    ids=["unmasked", "too large", "no UTF-8"],
)
async def test_a_broken_frame_ends_it_with_the_code_for_it(data: bytes, code: int) -> None:
    async with running_site() as site:
        loop = asyncio.get_running_loop()
        client, ear = await site.connect()
        began = loop.time()
        client.send(frame(1, b"before"), data, frame(1, b"after"))
        assert await client.receive(4) == b"\x88\x02" + struct.pack("!H", code)
        assert ear.heard == [b"before", "lost"]
        client.send(frame(1, b"later"))
        ear.websocket.write([text_frame(b"not any more")])
        assert await client.rest() == b""
        assert loop.time() - began == pytest.approx(CLOSE_GRACE, abs=0.1)
        assert ear.heard == [b"before", "lost"]


async def test_a_close_of_the_client_is_answered_and_ends_it() -> None:
    async with running_site() as site:
        loop = asyncio.get_running_loop()
        client, ear = await site.connect()
        began = loop.time()
        client.send(frame(8, b"\x0f\xa0bye"), frame(1, b"after"))
        assert await client.rest() == b"\x88\x02\x03\xe8"
        assert ear.heard == ["lost"]
        assert loop.time() - began < CLOSE_GRACE / 2


@pytest.mark.parametrize("answers", [True, False])
async def test_a_close_of_ours_waits_for_the_client_a_moment(answers: bool) -> None:
    async with running_site() as site:
        loop = asyncio.get_running_loop()
        client, ear = await site.connect()
        began = loop.time()
        ear.websocket.close(1012)
        ear.websocket.close(1008)
        assert await client.receive(4) == b"\x88\x02\x03\xf4"
        client.send(frame(1, b"too late"), frame(9, b"too late"))
        if answers:
            client.send(frame(8, b"\x03\xf4"))
        assert await client.rest() == b""
        assert (loop.time() - began < CLOSE_GRACE / 2) is answers
        assert ear.heard == ["lost"]


@pytest.mark.parametrize("end", ["close frame", "end of the stream", "our close", "broken frame"])
async def test_who_takes_nothing_is_not_waited_for_when_it_ends(end: str) -> None:
    async with running_site() as site:
        client, ear = await site.connect()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        ear.websocket.write([text_frame(b"x" * 4 * MUCH)])
        assert ear.websocket.buffered > MUCH
        if end == "close frame":
            client.send(frame(8))
        elif end == "broken frame":
            client.send(b"\x81\x00")
        elif end == "our close":
            ear.websocket.close(1012)
        else:
            client.writer.write_eof()
        await eventually(lambda: ear.heard == ["lost"])
        await eventually(lambda: ear.websocket.buffered == 0)


async def test_who_pings_and_goes_is_heard_to_the_end_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_node() as node:
        client = await node.connected()
        # All before the server reads any of it; it finds out when it answers the first ping.
        for _ in range(3):
            await client.ws.ping()
        await client.send('42["last",{}]')
        client.drop()
        await eventually(lambda: node.script.count("disconnect") == 1)
        await node.until_empty()
        assert [call[-1] for call in node.script.calls if call[0] == "event"] == ["last"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_open_websockets_count_as_connections_and_end_with_the_server() -> None:
    admissions = Admissions(most=3)
    async with running_site(lambda app: ours(app, admissions=admissions)) as site:
        (gone, first), (_, second) = await site.connect(), await site.connect()
        assert len(admissions) == 2
        gone.writer.close()
        await eventually(lambda: first.heard == ["lost"])
        assert len(admissions) == 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        await site.runner.cleanup()
        assert loop.time() - began == pytest.approx(2, abs=0.1)
        await eventually(lambda: second.heard == ["lost"])
        assert len(admissions) == 0


async def test_a_server_does_not_wait_longer_than_its_websockets_are_open() -> None:
    async with running_site() as site:
        client, ear = await site.connect()
        loop = asyncio.get_running_loop()
        began = loop.time()
        ear.websocket.close(1012)
        loop.call_later(0.5, client.send, frame(8, b"\x03\xf4"))
        await site.runner.cleanup()
        assert loop.time() - began == pytest.approx(0.5, abs=0.1)
        assert ear.heard == ["lost"]
