"""The Socket.IO server: python-socketio's interface on a hardened, lean inside.

It knows nothing about chat. What is about chat is the namespace, an
`socketio.AsyncNamespace` given to `register_namespace`, with these three methods:

    async def on_connect(self, sid, environ, auth) -> None
        `environ` has the handshake's HTTP_AUTHORIZATION (empty unless there is one) and
        QUERY_STRING (empty without a token); `auth` is a dict or None. Raise a ChatError, or
        `socketio.exceptions.ConnectionRefusedError(detail, error)`, to refuse: the
        client's `connect_error` then has the error object in `data`. The handler may
        enter rooms; what is emitted to them follows the client's CONNECT answer.

    async def on_event(self, sid, event, args) -> dict
        Any event, whatever its name: a client can make no other method run. `args`
        are the JSON values after the name, unchecked. What is returned is the
        acknowledgement; to a client that asked for none, only the error of a failure
        (`{"ok": False, "error": …}`) is sent, as the event `error`.

    async def on_disconnect(self, sid, reason) -> None
        Exactly once for each socket that on_connect accepted, after the handler of
        its last event; also when the server goes down.

For one socket they run one at a time, in the order in which things happened. A
running handler is not cancelled because its client goes; deadlines are its own.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Protocol

import socketio  # type: ignore[import-untyped]
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError  # type: ignore[import-untyped]

from chatserver.eio.handshakes import Environ
from chatserver.eio.observers import NullObserver, Observer
from chatserver.eio.protocol import TRY_AGAIN_LATER, Reason
from chatserver.eio.server import ConnectionWatch, EngineServer
from chatserver.eio.session import EngineSocket
from chatserver.errors import ChatError, InternalError, Unavailable
from chatserver.settings import RealtimeSettings
from chatserver.sio.adapter import Rooms
from chatserver.sio.client import LINGER, Peer
from chatserver.sio.drain import FLUSH_GRACE, depart
from chatserver.sio.packets import Packet

log = logging.getLogger(__name__)

# What `drain` keeps of its grace for the disconnect handlers, at most: seconds, share.
_DISCONNECT_RESERVE: Final = 2.0
_DISCONNECT_SHARE: Final = 0.3
_SHUTDOWN_GRACE: Final = 1.0  # how long `shutdown` takes at most, in seconds


class NamespaceHandler(Protocol):
    """What the registered namespace must have; see the module's text."""

    async def on_connect(
        self, sid: str, environ: Environ, auth: dict[str, Any] | None
    ) -> bool | None: ...

    async def on_event(self, sid: str, event: str, args: list[Any]) -> Any: ...

    async def on_disconnect(self, sid: str, reason: str) -> None: ...


def failure_ack(error: BaseException) -> dict[str, Any]:
    """The acknowledgement for an exception: only a ChatError tells what went wrong."""
    known = error if isinstance(error, ChatError) else InternalError()
    return {"ok": False, "error": known.to_dict()}


class ChatSocketServer(socketio.AsyncServer):  # type: ignore[misc]
    """A `socketio.AsyncServer` for the namespace "/" on one node.

    Beside python-socketio's interface (emit, enter_room, leave_room, rooms,
    disconnect, session, transport …) there are `emit_now`, `release` and `drain`. `get_environ`
    answers only while the connect handler runs: tokens are not kept.
    """

    manager_initialized: bool

    def __init__(
        self,
        realtime: RealtimeSettings,
        *,
        body_timeout: float,
        origin_allowed: Callable[[web.Request], bool],
        counted_address: Callable[[web.Request], str],
        watch_connection: ConnectionWatch,
        admit_handshake: Callable[[web.Request], float] = lambda _: 0.0,
        admit_request: Callable[[web.Request], float] = lambda _: 0.0,
        observer: Observer | None = None,
        rooms: Rooms | None = None,
        failure_ack: Callable[[BaseException], dict[str, Any]] = failure_ack,
    ) -> None:
        self.connect_timeout = realtime.connect_timeout
        self.linger = min(LINGER, realtime.connect_timeout)
        self.max_queue_bytes = realtime.max_queue_bytes
        self.max_pending_events = realtime.max_pending_events
        self.max_pending_bytes = 2 * realtime.max_packet_bytes
        self.failure_ack = failure_ack
        self.rooms_index = Rooms() if rooms is None else rooms
        self._observer = observer or NullObserver()
        self._workers: set[asyncio.Task[None]] = set()
        self._is_over = False
        super().__init__(
            client_manager=self.rooms_index,
            logger=logging.getLogger("socketio.server"),
            serializer=Packet,
            async_handlers=False,
            engineio_logger=logging.getLogger("engineio.server"),
            realtime=realtime,
            body_timeout=body_timeout,
            origin_allowed=origin_allowed,
            counted_address=counted_address,
            watch_connection=watch_connection,
            admit_handshake=admit_handshake,
            admit_request=admit_request,
            open_receiver=self._open_peer,
            observer=self._observer,
        )

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _open_peer(self, socket: EngineSocket, environ: Environ) -> Peer:
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        self.environ[socket.sid] = environ
        return Peer(self, socket)

    # Sending

    def emit_now(
        self, event: str, payload: Any, rooms: Sequence[str], skip: Collection[str] = ()
    ) -> int:
        """Send an event to the peers in `rooms` (see `Rooms.emit_now`)."""
        return self.rooms_index.emit_now(event, payload, rooms, skip)

    def emit_local(self, event: str, payload: Any, rooms: Sequence[str]) -> int:
        """`emit_now` to the peers of this node alone."""
        return self.rooms_index.emit_local(event, payload, rooms)

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: str | Sequence[str] | None = None,
        room: str | Sequence[str] | None = None,
        skip_sid: str | Sequence[str] | None = None,
        namespace: str | None = None,
        callback: Any = None,
        ignore_queue: bool = False,
    ) -> None:
        """As in python-socketio, through the manager, but without callbacks."""
        await self.manager.emit(
            event,
            data,
            namespace or "/",
            room=to or room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
        )

    # Rooms and sessions

    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Add a socket of this node to a room; nothing happens for one that has gone.

        Returns when what other nodes emit to the room arrives here, or half a second
        later where Redis is slow.
        """
        self.rooms_index.basic_enter_room(sid, namespace or "/", room)
        await self.rooms_index.entered(room)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        self.rooms_index.basic_leave_room(sid, namespace or "/", room)

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The socket's own dict, from on_connect to the end of on_disconnect; else KeyError."""
        return self._peer(sid).session

    async def save_session(
        self, sid: str, session: dict[str, Any], namespace: str | None = None
    ) -> None:
        self._peer(sid).session = session

    def _peer(self, sid: str) -> Peer:
        if (peer := self.rooms_index.get_peer(sid)) is None:
            raise KeyError("Session not found")
        return peer

    async def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """End a socket's session for good: its client is told and does not reconnect.

        Returns at once, also when called from a handler of that socket.
        """
        self.disconnect_now(sid)

    def disconnect_now(self, sid: str) -> None:
        """`disconnect` for those who cannot wait; nothing happens for one that has gone."""
        if (peer := self.rooms_index.get_peer(sid)) is not None:
            peer.disconnect(Reason.SERVER_DISCONNECT)

    def turn_away(self, sid: str) -> None:
        """Close a socket's connection; its client may come back, later, by itself."""
        if (peer := self.rooms_index.get_peer(sid)) is not None:
            peer.socket.close(Reason.SERVER_DISCONNECT, TRY_AGAIN_LATER)

    def sockets_in(self, room: str) -> Collection[str]:
        """The sids of the sockets of this node in a room; gone with the next change."""
        return self.rooms_index.sids_in(room)

    # Handlers, called by peers

    def _handler(self) -> NamespaceHandler:
        handler: NamespaceHandler = self.namespace_handlers["/"]
        return handler

    async def run_connect(self, peer: Peer, auth: dict[str, Any] | None) -> dict[str, Any] | None:
        """What to refuse the client with, as `{message, data}`; None to accept it."""
        environ = self.environ.get(peer.socket.sid, {})
        try:
            if await self._handler().on_connect(peer.sid, environ, auth) is not False:
                return None
            error: BaseException = ConnectionRefusedError()
        except (Exception, asyncio.CancelledError) as exc:
            error = exc
        return self._refusal(peer, error)

    def _refusal(self, peer: Peer, error: BaseException) -> dict[str, Any]:
        if isinstance(error, ConnectionRefusedError):
            return dict(error.error_args)
        if not isinstance(error, ChatError):
            self.log_failure(peer, "connect", error)
            error = Unavailable() if isinstance(error, asyncio.CancelledError) else InternalError()
        return {"message": error.detail, "data": error.to_dict()}

    async def run_event(self, peer: Peer, event: str, args: list[Any]) -> Any:
        """The acknowledgement of an event; a failing handler's is an error.

        A cancellation (by `drain`, or leaked by the handler) ends the handler only:
        what is queued behind it still runs.
        """
        try:
            return await self._handler().on_event(peer.sid, event, args)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                return self.failure_ack(Unavailable())
            if not isinstance(error, ChatError):
                self.log_failure(peer, event[:64], error)
            return self.failure_ack(error)

    async def run_disconnect(self, peer: Peer, reason: str) -> None:
        try:
            await self._handler().on_disconnect(peer.sid, reason)
        except Exception as error:
            self.log_failure(peer, "disconnect", error)

    def log_failure(self, peer: Peer, handler: str, error: BaseException) -> None:
        self._observer.error("handler")
        log.error("handler_failed", exc_info=error, extra={"handler": handler, "sid": peer.sid})

    # Tasks and timers, for peers

    def spawn(
        self, work: Coroutine[Any, Any, None], on_done: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Run a peer's queue; kept until it is done, and waited for by `drain`."""

        def finish(task: asyncio.Task[None]) -> None:
            self._workers.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("event_queue_failed", exc_info=error)
            if not self._is_over:
                on_done()

        task = asyncio.get_running_loop().create_task(work)
        self._workers.add(task)
        task.add_done_callback(finish)
        return task

    def call_later(
        self, delay: float, call: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, call, *args)

    # The end

    async def release(self, seconds: float) -> None:
        """Refuse handshakes (503), and have clients leave over `seconds` (see `depart`).

        `drain` has to follow, and ends what is left of them.
        """
        self.eio.is_draining = True
        await depart(self.eio.sockets.values(), seconds)

    async def drain(self, grace: float) -> None:
        """End everything within `grace` seconds, losing as little as possible.

        In this order: no new handshakes (503) and no new events; events that had
        arrived are handled and acknowledged; what is queued for clients is sent; the
        connections are closed so that clients reconnect by themselves (websockets
        with 1012); disconnect handlers run. A handler that is still running when
        most of the grace is over is cancelled. Once it is done, it is done.
        """
        if self._is_over:
            return
        deadline = asyncio.get_running_loop().time() + grace
        handlers_until = deadline - min(_DISCONNECT_RESERVE, grace * _DISCONNECT_SHARE)
        self.eio.stop_receiving()
        await self._wait_workers(handlers_until)
        flush_until = asyncio.get_running_loop().time() + FLUSH_GRACE
        await self._wait_queues(min(handlers_until, flush_until))
        for peer in self.rooms_index.list_peers():
            peer.cancel_handler()
        self.eio.close_all()
        await self._wait_workers(deadline)
        await self._abandon()

    async def shutdown(self) -> None:
        """`drain` for those in a hurry: done in about a second, whatever handlers do."""
        await self.drain(_SHUTDOWN_GRACE)

    async def _wait_workers(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self._workers and (remaining := until - loop.time()) > 0:
            await asyncio.wait(self._workers, timeout=remaining)

    async def _wait_queues(self, until: float) -> None:
        """Wait until clients have taken what is queued for them."""
        loop = asyncio.get_running_loop()
        while loop.time() < until and any(  # noqa: ASYNC110
            socket.queued_bytes for socket in self.eio.sockets.values()
        ):
            await asyncio.sleep(0.02)  # transports tell nobody when they are empty

    async def _abandon(self) -> None:
        """Cancel what has not ended in time and forget everyone."""
        self._is_over = True
        abandoned = list(self._workers)
        for task in abandoned:
            task.cancel()
        if abandoned:
            log.warning("handlers_abandoned", extra={"count": len(abandoned)})
            await asyncio.wait(abandoned, timeout=0.2)
        for peer in self.rooms_index.list_peers():
            self.rooms_index.forget_peer(peer)
