"""A node with a scripted namespace, and clients that speak the raw protocol to it."""

import asyncio
import inspect
import json
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest
import uvloop
from aiohttp import web

from chatserver.eio.server import Edge
from chatserver.eio.session import EngineSocket
from chatserver.http.compression import compress
from chatserver.http.connections import ConnectionRunner, watch_connection
from chatserver.realtime.namespace import ChatAnswers
from chatserver.realtime.python_socketio import AsyncNamespace, AsyncServer, Manager
from chatserver.realtime.raw import RawEndpoint
from chatserver.settings import RealtimeSettings
from chatserver.sio.adapter import Adapter
from chatserver.sio.client import Client
from chatserver.sio.server import SocketServer
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually

SETTINGS = RealtimeSettings(
    ping_interval=5.0,
    ping_timeout=5.0,
    connect_timeout=10.0,
    max_packet_bytes=100_000,
    max_queue_bytes=1_048_576,
    max_pending_events=64,
    handler_timeout=8.0,
    max_sockets_per_user=0,
    max_sockets_per_address=0,
)

FRIEND = "http://friend.example"

Handler = Callable[[str, list[Any]], Awaitable[Any]]


class Script(AsyncNamespace):
    """A namespace that records every call and does what a test tells it to."""

    def __init__(self) -> None:
        super().__init__("/")
        self.calls: list[tuple[Any, ...]] = []
        self.environs: list[Any] = []
        self.handlers: dict[str, Handler] = {}
        self.connecting: Callable[[str, Any], Awaitable[Any]] | None = None
        self.disconnecting: Callable[[str], Awaitable[None]] | None = None

    async def trigger_event(self, event: str, *args: Any) -> Any:
        if event in ("connect", "disconnect"):
            return await super().trigger_event(event, *args)
        sid, *rest = args
        return await self.on_event(sid, event, rest)

    async def on_connect(self, sid: str, environ: Any, auth: Any) -> Any:
        self.environs.append(environ)
        if self.connecting is not None:
            result = await self.connecting(sid, auth)
            if result is False:
                return False
        self.calls.append(("connect", sid))
        return None

    async def on_event(self, sid: str, event: str, args: list[Any]) -> Any:
        self.calls.append(("event", sid, event))
        if event in self.handlers:
            return await self.handlers[event](sid, args)
        return {"ok": True, "event": event, "args": args}

    async def on_disconnect(self, sid: str, reason: str) -> None:
        self.calls.append(("disconnect", sid, reason))
        if self.disconnecting is not None:
            await self.disconnecting(sid)

    def count(self, kind: str) -> int:
        return sum(call[0] == kind for call in self.calls)


@dataclass
class Counts:
    """An observer that remembers."""

    events: list[tuple[str, ...]] = field(default_factory=list)
    open: dict[str, int] = field(
        default_factory=lambda: defaultdict(int, {"polling": 0, "websocket": 0})
    )
    errors: list[str] = field(default_factory=list)

    def socket_opened(self, transport: str) -> None:
        self.open[transport] += 1

    def socket_upgraded(self) -> None:
        self.open["polling"] -= 1
        self.open["websocket"] += 1

    def socket_closed(self, transport: str, reason: str) -> None:
        self.open[transport] -= 1
        self.events.append((transport, reason))

    def error(self, kind: str) -> None:
        self.errors.append(kind)


class Node:
    """A server on a free port of the loopback, with clients for it."""

    def __init__(self, server: AsyncServer, script: Script, counts: Counts) -> None:
        self.server = server
        self.sockets: SocketServer = server.sockets
        self.engine = self.sockets.engine
        self.adapter: Adapter = self.sockets.adapter
        self.script = script
        self.counts = counts
        self.port = 0
        self.http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/socket.io/"

    def held(self) -> dict[str, int]:
        """The sizes of everything that may hold something for a client."""
        manager = self.server.manager
        return {
            "sockets": len(self.engine.sockets),
            "addresses": len(self.engine._addresses),
            "unflushed": len(self.engine._unflushed),
            "workers": len(self.sockets._workers),
            "clients": len(self.adapter._clients),
            "members": len(self.adapter._members),
            "callbacks": len(manager.callbacks),
            "library": len(manager.rooms) + len(self.server.environ),
            "open": sum(self.counts.open.values()),
        }

    def socket_of(self, sid: str) -> EngineSocket:
        client = self.adapter.get_client(sid)
        assert client is not None
        return client.socket

    def environs(self) -> list[Any]:
        """What is kept of the handshakes of all sockets."""
        receivers = [socket.receiver for socket in self.engine.sockets.values()]
        return [receiver.environ for receiver in receivers if isinstance(receiver, Client)]

    async def until_empty(self, within: float = PATIENCE) -> None:
        await eventually(lambda: not any(self.held().values()), within, lambda: str(self.held()))

    # Clients

    async def request(
        self, method: str, query: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        async with self.http.request(
            method, f"{self.url}?{query}", data=body, headers=headers
        ) as answer:
            return answer.status, await answer.text()

    async def websocket(self, query: str = "EIO=4&transport=websocket") -> "WebSocketClient":
        return WebSocketClient(await self.http.ws_connect(f"{self.url}?{query}"))

    async def connected(self, auth: Any = None) -> "WebSocketClient":
        client = await self.websocket()
        await client.connect(auth)
        return client

    async def polling(self) -> "PollingClient":
        client = PollingClient(self)
        await client.open()
        return client


class WebSocketClient:
    """Engine.IO packets over a websocket; pings are answered inside `receive`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.sid = ""
        self.hello: dict[str, Any] = {}
        self.answers_pings = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.ws.close()

    async def connect(self, auth: Any = None) -> None:
        await self.receive_hello()
        await self.send("40" + ("" if auth is None else json.dumps(auth)))
        answer = await self.receive()
        assert answer.startswith("40"), answer
        self.sid = json.loads(answer[2:])["sid"]

    async def receive_hello(self) -> None:
        hello = await self.receive()
        assert hello[0] == "0"
        self.hello = json.loads(hello[1:])

    async def send(self, packet: str) -> None:
        await self.ws.send_str(packet)

    async def receive(self, within: float = PATIENCE) -> str:
        """The next packet; "closed <code>" when the connection has ended."""
        async with asyncio.timeout(within):
            while True:
                message = await self.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return f"closed {self.ws.close_code}"
                packet: str = message.data
                if packet != "2" or not self.answers_pings:
                    return packet
                await self.send("3")

    async def call(self, event: str, *args: Any, ack_id: int = 1) -> Any:
        await self.send(f"42{ack_id}{json.dumps([event, *args])}")
        answer = await self.receive()
        assert answer.startswith(f"43{ack_id}["), answer
        return json.loads(answer[len(f"43{ack_id}") :])[0]

    def drop(self) -> None:
        """Vanish: the TCP connection is reset, no close frame."""
        transport = self.ws._response.connection.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()


class PollingClient:
    """Engine.IO packets over long polling."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.sid = ""
        self.query = "EIO=4&transport=polling"

    async def open(self) -> None:
        status, body = await self.node.request("GET", self.query)
        assert status == 200, body
        self.query += "&sid=" + json.loads(body[1:])["sid"]

    async def connect(self) -> None:
        await self.send("40")
        (answer,) = await self.receive()
        self.sid = json.loads(answer[2:])["sid"]

    async def post(self, body: bytes, **headers: str) -> tuple[int, str]:
        return await self.node.request("POST", self.query, body, **headers)

    async def send(self, *packets: str) -> None:
        assert await self.post("\x1e".join(packets).encode()) == (200, "ok")

    async def get(self) -> tuple[int, str]:
        return await self.node.request("GET", self.query)

    async def receive(self) -> list[str]:
        status, body = await self.get()
        assert status == 200, body
        return body.split("\x1e")

    async def probe(self) -> WebSocketClient:
        """A websocket for this session, not probed yet."""
        return await self.node.websocket(self.query.replace("polling", "websocket"))


class RawClient:
    """A websocket on a bare TCP socket with a small receive buffer, read on demand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def open(cls, port: int, connect: str = "40") -> "RawClient":
        """`connect` is the packet with which it connects to the namespace."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        request = (
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await loop.sock_sendall(sock, request.encode())
        client = cls(sock)
        await client.send(connect)
        with suppress(TimeoutError, OSError):  # Some open one on a node that is in trouble.
            async with asyncio.timeout(15):
                answer = b""
                while b"40{" not in answer and b"44{" not in answer:
                    received = await loop.sock_recv(sock, 4096)
                    answer += received
                    if not received:
                        break
        return client

    async def send(self, packet: str) -> None:
        data = packet.encode()
        size = len(data)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else b""
        if not head:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
        await asyncio.get_running_loop().sock_sendall(self.sock, head + bytes(4) + data)

    async def was_closed(self) -> bool:
        """Read until the end of the connection; whether there was one in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                while await loop.sock_recv(self.sock, 65536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.sock.close()


def on_both_loops(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine function a test on asyncio's loop and one on uvloop's.

    The two buffer and write at different moments.
    """

    def test(loop_factory: Callable[[], asyncio.AbstractEventLoop], **params: Any) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(scenario(**params))

    first = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = inspect.signature(scenario).parameters.values()
    test.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    both = pytest.mark.parametrize(
        "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    marked: Callable[..., None] = both(test)
    return marked


def _is_friendly(request: web.Request) -> bool:
    return request.headers.get("Origin") in (None, FRIEND)


def _address(request: web.Request) -> str:
    return request.headers.get("X-Test-Address", request.remote or "")


@asynccontextmanager
async def running_node(*, body_timeout: float = 1.0, **settings: Any) -> AsyncIterator[Node]:
    """A node with SETTINGS, but for `settings`; it is empty again when the test is over."""
    counts, script = Counts(), Script()
    edge = Edge(
        origin_allowed=_is_friendly,
        counted_address=_address,
        watch_connection=watch_connection,
        body_timeout=body_timeout,
        compress=compress,
    )
    sockets = SocketServer(replace(SETTINGS, **settings), edge, ChatAnswers(), observer=counts)
    server = AsyncServer(sockets, Manager())
    server.register_namespace(script)
    node = Node(server, script, counts)
    app = web.Application()
    server.attach(app)
    RawEndpoint(sockets, takes_query_token=True).attach(app)
    runner = ConnectionRunner(
        app,
        shutdown_timeout=1.0,
        connection_options={"request_timeout": 8.0, "lingering_time": 0.1},
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    node.port = runner.addresses[0][1]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as node.http:
        try:
            yield node
        finally:
            await node.http.close()
            await server.shutdown()
            await runner.cleanup()
    assert not any(node.held().values()), node.held()
