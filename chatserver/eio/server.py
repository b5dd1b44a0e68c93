"""The Engine.IO server: handshakes, polling requests, upgrades and the open sockets."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from aiohttp import hdrs, web

from chatserver.eio import responses
from chatserver.eio.bodies import BadBody, read_packets
from chatserver.eio.clock import Clock
from chatserver.eio.frames import FrameReader
from chatserver.eio.handshakes import Environ, environ_of, wants_websocket
from chatserver.eio.observers import NullObserver, Observer
from chatserver.eio.opening_handshake import accept
from chatserver.eio.polling import Polling, PollOverlap
from chatserver.eio.probes import Probe
from chatserver.eio.protocol import (
    CLOSE,
    PROTOCOL_ERROR,
    SERVICE_RESTART,
    Limits,
    Reason,
    Receiver,
)
from chatserver.eio.refusals import Refusals
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import WebSocket, frame_payload, text_frame

log = logging.getLogger(__name__)

_TRANSPORTS = ("polling", "websocket")


async def _send_as_it_is(_: web.Request, __: web.StreamResponse) -> None:
    """Compress nothing."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Policy for requests, as the application decides it.

    `origin_allowed` says whether the page of a request may call, and `counted_address`
    with whose sockets that of its client counts. `admit_handshake` and `admit_request`
    (for those that open nothing) return 0, or for how many seconds to refuse. `environ_of`
    is what a connect handler gets. `watch_connection` has a function called when the
    connection of a request ends, unless another request came on it before. A polling body
    that takes longer than `body_timeout` seconds closes its session.
    """

    origin_allowed: Callable[[web.Request], bool]
    counted_address: Callable[[web.Request], str]
    watch_connection: Callable[[web.Request, Callable[[], None]], None]
    body_timeout: float
    admit_handshake: Callable[[web.Request], float] = lambda _: 0.0
    admit_request: Callable[[web.Request], float] = lambda _: 0.0
    environ_of: Callable[[web.Request], Environ] = environ_of
    compress: Callable[[web.Request, web.StreamResponse], Awaitable[None]] = _send_as_it_is


class EngineServer:
    """Engine.IO 4 on aiohttp, for one event loop.

    Nothing is held for a client that went, and no task lives for a socket but the
    request that aiohttp runs anyway. `open_receiver` is called with each new socket
    and what the handshake told of it. Timers run on `clock`, by default the running loop.
    """

    def __init__(
        self,
        limits: Limits,
        edge: Edge,
        open_receiver: Callable[[EngineSocket, Environ], Receiver],
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.ping_interval = limits.ping_interval
        self.ping_timeout = limits.ping_timeout
        self.connect_timeout = limits.connect_timeout
        self.max_packet_bytes = limits.max_packet_bytes
        self.max_queue_bytes = limits.max_queue_bytes
        self.observer = observer or NullObserver()
        self.clock = clock or asyncio.get_running_loop()
        self.sockets: dict[str, EngineSocket] = {}
        self.is_draining = False
        self.environ_of = edge.environ_of
        self._edge = edge
        self._max_per_address = limits.max_sockets_per_address
        self._open_receiver = open_receiver
        self._refusals = Refusals(self.observer, edge.admit_request)
        self._addresses: Counter[str] = Counter()
        self._unflushed: list[EngineSocket] = []

    def attach(self, app: web.Application, engineio_path: str = "socket.io") -> None:
        path = f"/{engineio_path.strip('/')}/"
        app.router.add_get(path, self.handle_request, allow_head=False)
        app.router.add_post(path, self.handle_request)
        app.router.add_route(hdrs.METH_OPTIONS, path, self.handle_request)

    @staticmethod
    def generate_id() -> str:
        """A new id of 20 letters that nobody can guess."""
        return secrets.token_urlsafe(15)

    # Requests

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """The handler of the endpoint. Answers every bad request; raises only for a lost peer."""
        return await self.respond(request, self._answer)

    async def respond(
        self,
        request: web.Request,
        answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Return `answer`'s response to an allowed origin, or its EngineError as a response."""
        if not self._edge.origin_allowed(request):
            return self._refusals.answer(responses.foreign_origin(), request)
        try:
            response = await answer(request)
        except responses.EngineError as error:
            response = self._refusals.answer(error, request)
            if self.is_draining:
                response.force_close()  # a load balancer then uses another node's connection
        if not response.prepared:
            response.headers.update(responses.cors_headers(request))
            await self._edge.compress(request, response)
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS:
            self._refusals.spend(request)
            return responses.preflight(request)
        query = request.query
        transport = query.get("transport")
        if transport not in _TRANSPORTS:
            raise responses.unknown_transport()
        is_websocket = transport == "websocket"
        if "j" in query:
            raise responses.bad_request("jsonp")
        if is_websocket and not wants_websocket(request):
            raise responses.bad_request("not_upgraded")
        sid = query.get("sid")
        if sid is None:
            return await self._handshake(request, is_websocket=is_websocket)
        socket = self.sockets.get(sid)
        if socket is None:
            raise responses.unknown_sid(is_draining=self.is_draining)
        polling = socket.transport
        if not isinstance(polling, Polling) or (is_websocket and socket.probe is not None):
            raise responses.bad_request("transport_taken")
        if is_websocket:
            return await self._serve_websocket(request, partial(self._probe, socket))
        if request.method == hdrs.METH_POST:
            return await self._push(socket, polling, request)
        return await self._poll(socket, polling, request)

    async def _handshake(self, request: web.Request, *, is_websocket: bool) -> web.StreamResponse:
        if request.method != hdrs.METH_GET:
            raise responses.bad_handshake_method()
        if request.query.get("EIO") != "4":
            raise responses.unsupported_version()
        address = self.admit(request)
        socket = EngineSocket(self, self.generate_id(), address, is_websocket=is_websocket)
        self.start(socket, self._open_receiver(socket, self.environ_of(request)))
        hello = text_frame(b"0" + orjson.dumps(self._hello(socket, is_websocket=is_websocket)))
        if not is_websocket:
            return responses.text(frame_payload(hello))
        socket.enqueue(hello)
        return await self.open_websocket(socket, request, socket.open)

    def admit(self, request: web.Request) -> str:
        """With whose sockets that of a client that may open one counts; raises EngineError."""
        if self.is_draining:
            raise responses.draining()
        address = self._edge.counted_address(request)
        if address and 0 < self._max_per_address <= self._addresses[address]:
            raise responses.too_many_sockets()
        if retry_after := self._edge.admit_handshake(request):
            raise responses.rate_limited(retry_after)
        return address

    def _hello(self, socket: EngineSocket, *, is_websocket: bool) -> Mapping[str, Any]:
        return {
            "sid": socket.sid,
            "upgrades": [] if is_websocket else ["websocket"],
            "pingInterval": int(self.ping_interval * 1000),
            "pingTimeout": int(self.ping_timeout * 1000),
            "maxPayload": self.max_packet_bytes,
        }

    async def open_websocket(
        self,
        socket: EngineSocket,
        request: web.Request,
        begin: Callable[[WebSocket], None],
        *,
        cuts_messages: bool = True,
    ) -> web.StreamResponse:
        """Accept the websocket of a new socket; `begin` opens that on it.

        Where the websocket cannot be accepted, the socket ends and EngineError is raised.
        """
        try:
            return await self._serve_websocket(request, begin, cuts_messages=cuts_messages)
        except BaseException:
            socket.close(Reason.TRANSPORT_CLOSE)
            raise

    async def _serve_websocket(
        self,
        request: web.Request,
        begin: Callable[[WebSocket], None],
        *,
        cuts_messages: bool = True,
    ) -> web.StreamResponse:
        reader = FrameReader(self.max_packet_bytes, cuts_messages=cuts_messages)
        try:
            websocket, response = await accept(request, reader)
        except (ConnectionError, ValueError, web.HTTPBadRequest):
            raise responses.bad_request("bad_websocket") from None
        begin(websocket)
        return response

    def _probe(self, socket: EngineSocket, websocket: WebSocket) -> None:
        """Let the client say on `websocket` whether it changes over to it."""
        probe = Probe(socket, websocket, self.clock, self.connect_timeout)
        if socket.closed:
            probe.close()
        websocket.listen(probe)

    async def _poll(
        self, socket: EngineSocket, polling: Polling, request: web.Request
    ) -> web.StreamResponse:
        connection = request.transport
        lost = partial(self._lose_poll, socket.sid, connection, was_kept=request.keep_alive)
        self._edge.watch_connection(request, lost)
        try:
            return responses.text(await socket.poll(polling, connection))
        except PollOverlap:
            socket.refuse("poll_overlap", PROTOCOL_ERROR)
            raise responses.bad_request(None) from None

    def _lose_poll(self, sid: str, connection: Any, *, was_kept: bool) -> None:
        # By its sid, since a connection may outlive the session and must not hold it.
        socket = self.sockets.get(sid)
        if socket is not None and isinstance(socket.transport, Polling):
            socket.transport.connection_lost(connection, was_kept=was_kept)

    async def _push(
        self, socket: EngineSocket, polling: Polling, request: web.Request
    ) -> web.StreamResponse:
        """Take the packets of a POST; anything wrong about it closes the session."""
        if polling.is_posting:
            socket.refuse("bad_poll", PROTOCOL_ERROR)
            raise responses.bad_request(None, keep_alive=False)
        polling.is_posting = True
        try:
            await self._receive(socket, polling, request)
        except BadBody as error:
            kind = "payload_too_large" if error.is_too_large else "bad_poll"
            socket.refuse(kind, PROTOCOL_ERROR)
            failure = responses.too_large if error.is_too_large else responses.bad_request
            raise failure(None, keep_alive=False) from None
        finally:
            polling.is_posting = False
        return responses.text(b"ok")

    async def _receive(self, socket: EngineSocket, polling: Polling, request: web.Request) -> None:
        """Give the socket its packets; raises EngineError when one made the server close it."""
        packets = read_packets(request, self.max_packet_bytes, self._edge.body_timeout)
        async with aclosing(packets):
            async for packet in packets:
                if socket.closed:
                    return
                socket.receive_packet(packet)
                if socket.closed and packet != CLOSE:
                    raise responses.bad_request(None, keep_alive=False)
                await polling.wait_readable()

    # Sockets

    def start(self, socket: EngineSocket, receiver: Receiver) -> None:
        """Begin a socket, count it, and end it with the others; it calls `forget` at its end."""
        socket.start(receiver)
        self.sockets[socket.sid] = socket
        self._addresses[socket.address] += 1
        self.observer.socket_opened(socket.name)

    def schedule_flush(self, socket: EngineSocket) -> None:
        """Have `socket.flush()` called once at the end of this turn of the loop."""
        if not self._unflushed:
            self.clock.call_soon(self._flush)
        self._unflushed.append(socket)

    def _flush(self) -> None:
        sockets, self._unflushed = self._unflushed, []
        for socket in sockets:
            try:
                socket.flush()
            except Exception:
                log.exception("socket_write_failed", extra={"sid": socket.sid})
                socket.drop(Reason.TRANSPORT_ERROR, "write_failed")

    def forget(self, socket: EngineSocket, reason: str) -> None:
        """Drop every reference to a socket that has ended."""
        del self.sockets[socket.sid]
        self._addresses[socket.address] -= 1
        if not self._addresses[socket.address]:
            del self._addresses[socket.address]
        self.observer.socket_closed(socket.name, reason)

    def report(self, sid: str, kind: str) -> None:
        """Count, and log in one line, that a client was dropped for what it did."""
        self.observer.error(kind)
        log.info("client_dropped", extra={"error_type": kind, "sid": sid})

    def stop_receiving(self) -> None:
        """Begin nothing more: no handshake, and nothing that a client sends."""
        self.is_draining = True
        for socket in self.sockets.values():
            socket.stop_receiving()

    def close_all(self) -> None:
        """End every connection in a way that lets clients come back by themselves."""
        for socket in list(self.sockets.values()):
            socket.close(Reason.SERVER_DISCONNECT, SERVICE_RESTART)
