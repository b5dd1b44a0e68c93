"""The Engine.IO server: handshakes, polling requests, upgrades and the open sockets."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import engineio  # type: ignore[import-untyped]
from aiohttp import hdrs, web

from chatserver.eio import responses as answers
from chatserver.eio.bodies import BadBody, read_packets
from chatserver.eio.frames import FrameReader
from chatserver.eio.handshakes import Environ, environ_of, wants_websocket
from chatserver.eio.observers import Observer
from chatserver.eio.opening_handshake import accept
from chatserver.eio.polling import PollOverlap
from chatserver.eio.protocol import (
    CLOSE,
    PROTOCOL_ERROR,
    SEPARATOR,
    SERVICE_RESTART,
    Reason,
    Receiver,
)
from chatserver.eio.refusals import Refusals
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import WebSocket, text_frame
from chatserver.http.compression import compress
from chatserver.settings import RealtimeSettings
from chatserver.sio.packets import OrjsonCodec

log = logging.getLogger(__name__)

ConnectionWatch = Callable[[web.Request, Callable[[], None]], None]


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO 4 on aiohttp, for one event loop.

    Keeps from `engineio.AsyncServer` its public interface and replaces its inside:
    nothing is held for a client that went, and no task lives for a socket but the
    request that aiohttp runs anyway. `open_receiver` is called with each new socket
    and what the handshake told of it. A polling body that takes longer than
    `body_timeout` seconds closes its session. `watch_connection` has a function called
    when the connection of a request ends, unless another request came on it before.
    """

    sockets: dict[str, EngineSocket]

    def __init__(
        self,
        *,
        realtime: RealtimeSettings,
        body_timeout: float,
        origin_allowed: Callable[[web.Request], bool],
        counted_address: Callable[[web.Request], str],
        watch_connection: ConnectionWatch,
        admit_handshake: Callable[[web.Request], float],
        admit_request: Callable[[web.Request], float],
        open_receiver: Callable[[EngineSocket, Environ], Receiver],
        observer: Observer,
        **options: Any,
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            ping_interval=realtime.ping_interval,
            ping_timeout=realtime.ping_timeout,
            max_http_buffer_size=realtime.max_packet_bytes,
            monitor_clients=False,
            **options,
        )
        self.observer = observer
        self.max_queue_bytes = realtime.max_queue_bytes
        self.upgrade_timeout = realtime.connect_timeout
        self.is_draining = False
        self._body_timeout = body_timeout
        self._max_per_address = realtime.max_sockets_per_address
        self._origin_allowed = origin_allowed
        self._counted_address = counted_address
        self._watch_connection = watch_connection
        self._admit_handshake = admit_handshake
        self._open_receiver = open_receiver
        self._refusals = Refusals(observer, admit_request)
        self._addresses: Counter[str] = Counter()
        self._unflushed: list[EngineSocket] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def attach(self, app: web.Application, engineio_path: str = "socket.io") -> None:
        path = f"/{engineio_path.strip('/')}/"
        app.router.add_get(path, self.handle_request, allow_head=False)
        app.router.add_post(path, self.handle_request)
        app.router.add_route(hdrs.METH_OPTIONS, path, self.handle_request)

    # Requests

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """The handler of the endpoint. Answers every bad request; raises only for a lost peer."""
        return await self.respond(request, self._answer)

    async def respond(
        self,
        request: web.Request,
        answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """What `answer` gives for a request of an allowed origin; an EngineError is answered."""
        if not self._origin_allowed(request):
            return self._refusals.answer(answers.foreign_origin(), request)
        try:
            response = await answer(request)
        except answers.EngineError as error:
            response = self._refusals.answer(error, request)
            if self.is_draining:
                response.force_close()  # a load balancer then uses another node's connection
        if not response.prepared:
            response.headers.update(answers.cors_headers(request))
            await compress(request, response)
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS:
            self._refusals.spend(request)
            return answers.preflight(request)
        query = request.query
        transport = query.get("transport")
        if transport not in self.transports:
            raise answers.unknown_transport()
        is_websocket = transport == "websocket"
        if "j" in query:
            raise answers.bad_request("jsonp")
        if is_websocket and not wants_websocket(request):
            raise answers.bad_request("not_upgraded")
        sid = query.get("sid")
        if sid is None:
            return await self._handshake(request, is_websocket=is_websocket)
        socket = self.sockets.get(sid)
        if socket is None:
            raise answers.unknown_sid(is_draining=self.is_draining)
        if socket.websocket is not None or (is_websocket and socket.is_upgrading):
            raise answers.bad_request("transport_taken")
        if is_websocket:
            return await self.serve_websocket(socket, request, socket.probe_by)
        if request.method == hdrs.METH_POST:
            return await self._push(socket, request)
        return await self._poll(socket, request)

    async def _handshake(self, request: web.Request, *, is_websocket: bool) -> web.StreamResponse:
        if request.method != hdrs.METH_GET:
            raise answers.bad_handshake_method()
        if request.query.get("EIO") != "4":
            raise answers.unsupported_version()
        address = self.admit(request)
        socket = self._open(request, address, is_websocket=is_websocket)
        if not is_websocket:
            return answers.text(SEPARATOR.join(socket.take()))
        return await self.serve_websocket(socket, request, socket.open)

    def admit(self, request: web.Request) -> str:
        """With whose sockets that of a client that may open one counts; raises EngineError."""
        if self.is_draining:
            raise answers.draining()
        address = self._counted_address(request)
        if address and 0 < self._max_per_address <= self._addresses[address]:
            raise answers.too_many_sockets()
        if retry_after := self._admit_handshake(request):
            raise answers.rate_limited(retry_after)
        return address

    def _open(self, request: web.Request, address: str, *, is_websocket: bool) -> EngineSocket:
        transport = "websocket" if is_websocket else "polling"
        socket = EngineSocket(self, self.generate_id(), address, transport)
        socket.start(self._open_receiver(socket, environ_of(request)))
        hello = {
            "sid": socket.sid,
            "upgrades": [] if is_websocket or not self.allow_upgrades else ["websocket"],
            "pingInterval": int(self.ping_interval * 1000),
            "pingTimeout": int(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        self.register(socket)
        socket.enqueue(text_frame(b"0" + OrjsonCodec.dumps(hello).encode()))
        return socket

    def register(self, socket: EngineSocket) -> None:
        """Count a new socket, and end it with the others; `forget` is called at its end."""
        self.sockets[socket.sid] = socket
        self._addresses[socket.address] += 1
        self.observer.socket_opened(socket.transport)

    async def serve_websocket(
        self,
        socket: EngineSocket,
        request: web.Request,
        serve: Callable[[WebSocket], None],
        *,
        cuts_messages: bool = True,
    ) -> web.StreamResponse:
        """Accept a websocket and give it to `serve`, as the transport of `socket` or its probe.

        A socket that has no other transport ends where that fails.
        """
        reader = FrameReader(self.max_http_buffer_size, cuts_messages=cuts_messages)
        try:
            websocket, response = await accept(request, reader)
        except BaseException as error:
            if socket.transport != "polling":
                socket.close(Reason.TRANSPORT_CLOSE)
            if isinstance(error, ConnectionError | ValueError | web.HTTPBadRequest):
                raise answers.bad_request("bad_websocket") from None
            raise
        serve(websocket)
        return response

    async def _poll(self, socket: EngineSocket, request: web.Request) -> web.StreamResponse:
        connection = request.transport
        lost = partial(self._lose_poll, socket.sid, connection, was_kept=request.keep_alive)
        self._watch_connection(request, lost)
        try:
            return answers.text(await socket.poll(connection))
        except PollOverlap:
            socket.refuse("poll_overlap", PROTOCOL_ERROR)
            raise answers.bad_request(None) from None

    def _lose_poll(self, sid: str, connection: Any, *, was_kept: bool) -> None:
        # By its sid, since a connection may outlive the session and must not hold it.
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.poll_lost(connection, was_kept=was_kept)

    async def _push(self, socket: EngineSocket, request: web.Request) -> web.StreamResponse:
        """Take the packets of a POST; anything wrong about it closes the session."""
        if socket.is_posting:
            socket.refuse("bad_poll", PROTOCOL_ERROR)
            raise answers.bad_request(None, keep_alive=False)
        socket.is_posting = True
        try:
            await self._receive(socket, request)
        except BadBody as error:
            kind = "payload_too_large" if error.is_too_large else "bad_poll"
            socket.refuse(kind, PROTOCOL_ERROR)
            failure = answers.too_large if error.is_too_large else answers.bad_request
            raise failure(None, keep_alive=False) from None
        finally:
            socket.is_posting = False
        return answers.text(b"ok")

    async def _receive(self, socket: EngineSocket, request: web.Request) -> None:
        """Give the socket its packets; raises EngineError when one made the server close it."""
        packets = read_packets(request, self.max_http_buffer_size, self._body_timeout)
        async with aclosing(packets):
            async for packet in packets:
                if socket.closed:
                    return
                socket.receive_packet(packet)
                if socket.closed and packet != CLOSE:
                    raise answers.bad_request(None, keep_alive=False)
                await socket.wait_readable()

    # Sockets

    def schedule_flush(self, socket: EngineSocket) -> None:
        """Have `socket.flush()` called once at the end of this turn of the loop."""
        if not self._unflushed:
            self.loop.call_soon(self._flush)
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
        self.observer.socket_closed(socket.transport, reason)

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

    # What python-socketio calls

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a Socket.IO packet to one client; nothing happens if it has gone."""
        socket = self.sockets.get(sid)
        if socket is not None:
            payload = data.encode() if isinstance(data, str) else data
            socket.enqueue(text_frame(b"4" + payload))

    async def send_packet(self, sid: str, pkt: Any) -> None:
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.enqueue(text_frame(pkt.encode().encode()))

    async def disconnect(self, sid: str | None = None) -> None:
        sockets = list(self.sockets.values()) if sid is None else [self.sockets.get(sid)]
        for socket in sockets:
            if socket is not None:
                socket.close(Reason.SERVER_DISCONNECT)

    async def shutdown(self) -> None:
        self.is_draining = True
        self.close_all()
