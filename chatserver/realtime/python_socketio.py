"""The protocol of `sio` as python-socketio: its AsyncServer, its namespaces, its managers.

What python-socketio documents runs in python-socketio's own code wherever that costs the
path of a message nothing: registries of handlers and namespaces, `on`, `event`, `send`,
`call`, `session`, and what managers of several processes say to each other. Replaced is
what holds connections and rooms: the library's keeps them in dicts of its own, starts a
task for each receiver, and waits for nobody's bounds. What cannot work as it is documented
raises `Unsupported` with its reason; see docs/decisions/own-protocol.md.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NoReturn

import orjson
import socketio  # type: ignore[import-untyped]
import structlog
from socketio.exceptions import ConnectionRefusedError  # type: ignore[import-untyped]

from chatserver.eio.websocket import text_frame
from chatserver.realtime.dispatch import Handlers
from chatserver.realtime.external import refusal_of
from chatserver.realtime.participants import Participants, Unsupported, check_namespace, names_of
from chatserver.sio.adapter import EVERYONE
from chatserver.sio.client import Client
from chatserver.sio.cluster_adapter import Bus, ClusterAdapter
from chatserver.sio.packets import encode_event
from chatserver.sio.server import SocketServer

__all__ = ["AsyncNamespace", "AsyncServer", "ConnectionRefusedError", "Manager", "RedisManager"]

SOCKETIO_CHANNEL: Final = "socketio"
"""Channel of what managers publish to each other, and of what another program emits with
`socketio.AsyncRedisManager(url, channel="<prefix>:socketio", write_only=True)`."""

CALLBACK_TTL: Final = 600.0
"""Seconds that a client may take to acknowledge an event; after that nobody waits for it."""

MAX_UNREAD: Final = 10_000
"""The most messages of other managers that wait; what is more is dropped."""


class AsyncNamespace(socketio.AsyncNamespace):  # type: ignore[misc]
    """python-socketio's own, as a class with a type."""


class AsyncServer(socketio.AsyncServer):  # type: ignore[misc]
    """A `socketio.AsyncServer` in front of `sockets`, whose application it is.

    Events of one client are handled one at a time, in their order. `client_manager` is a
    `Manager`, or a `RedisManager` for one node among several.
    """

    def __init__(self, sockets: SocketServer, client_manager: "Manager") -> None:
        self.sockets = sockets
        sockets.application = Handlers(self, self._trigger_event, ConnectionRefusedError)
        super().__init__(
            client_manager=client_manager,
            logger=logging.getLogger("socketio.server"),
            async_handlers=True,  # for `call`: no acknowledgement waits for a handler here
        )

    def _engineio_server_class(self) -> Any:
        return lambda **_: _Engine(self.sockets)

    def start(self) -> None:
        """Begin to hear other processes; to be called once the loop runs."""
        self.manager_initialized = True
        self.manager.initialize()

    async def shutdown(self) -> None:
        self.manager.close()
        await self.sockets.shutdown()

    # What the library's own code would do with its own dicts

    def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any:
        if namespace != "*":  # a handler for all namespaces is one for this one
            check_namespace(namespace)
        return super().on(event, handler, namespace)

    def register_namespace(self, namespace_handler: Any) -> None:
        if getattr(namespace_handler, "namespace", "*") != "*":
            check_namespace(namespace_handler.namespace)
        super().register_namespace(namespace_handler)

    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Returns when what other nodes emit to the room arrives at a client of this node,
        or half a second later where Redis is slow."""
        check_namespace(namespace)
        await super().enter_room(sid, room)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        check_namespace(namespace)
        await super().leave_room(sid, room)

    async def close_room(self, room: str, namespace: str | None = None) -> None:
        check_namespace(namespace)
        await super().close_room(room)

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        check_namespace(namespace)
        rooms: list[str] = self.manager.get_rooms(sid, "/")
        return rooms

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The client's own dict, from on_connect to the end of on_disconnect; else KeyError."""
        return self._client(sid, namespace).session

    async def save_session(
        self, sid: str, session: dict[str, Any], namespace: str | None = None
    ) -> None:
        self._client(sid, namespace).session = session

    def transport(self, sid: str, namespace: str | None = None) -> str:
        return self._client(sid, namespace).socket.name

    def get_environ(self, sid: str, namespace: str | None = None) -> Mapping[str, str]:
        """The part of the handshake that a connect handler may read (see `eio.handshakes`)."""
        environ = self._client(sid, namespace).environ
        if environ is None:
            reason = "the environ is kept until the connect handler returns: it holds the token"
            raise Unsupported(reason)
        return environ

    async def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """End a client's session for good: it is told and does not reconnect.

        Returns at once, also when called from a handler of that client.
        """
        check_namespace(namespace)
        if self.sockets.adapter.get_client(sid) is not None:
            self.sockets.disconnect(sid)
        elif not ignore_queue:
            await self.manager.can_disconnect(sid, "/")

    def instrument(self, *_: Any, **__: Any) -> NoReturn:
        raise Unsupported("the Admin UI is not attached: /metrics and the logs tell operators")

    def _client(self, sid: str, namespace: str | None) -> Client:
        check_namespace(namespace)
        if (client := self.sockets.adapter.get_client(sid)) is None:
            raise KeyError("Session not found")
        return client


class _Engine:
    """Methods that the library's server calls of its engine; anything else is an AttributeError."""

    async_mode = "aiohttp"

    def __init__(self, sockets: SocketServer) -> None:
        self.attach = sockets.engine.attach
        self.handle_request = sockets.engine.handle_request
        self.generate_id = sockets.engine.generate_id

    def on(self, event: str, handler: Any = None) -> None:
        """The library's server sets its own, which are not needed."""
        if not isinstance(getattr(handler, "__self__", None), AsyncServer):
            raise Unsupported("of connections only Socket.IO's events tell")

    def start_background_task(self, target: Any, *args: Any, **named: Any) -> "asyncio.Task[Any]":
        return asyncio.create_task(target(*args, **named))

    async def sleep(self, seconds: float = 0) -> None:
        await asyncio.sleep(seconds)

    def create_event(self) -> asyncio.Event:
        return asyncio.Event()


class Manager(Participants, socketio.AsyncManager):  # type: ignore[misc]
    """A `socketio.AsyncManager` on the adapter's clients and rooms, those of this node."""

    external_refused = 0
    """Messages of other programs that were not obeyed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ack_ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Hear nothing more of other processes."""

    # Fan-out

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: str | Sequence[str] | None = None,
        skip_sid: str | Sequence[str] | None = None,
        callback: Any = None,
        to: str | Sequence[str] | None = None,
        **_: Any,
    ) -> None:
        check_namespace(namespace)
        target = to or room
        rooms, skip = [EVERYONE] if target is None else names_of(target), names_of(skip_sid)
        payload = () if data is None else data
        if callback is None:
            self.adapter.emit_local(event, payload, rooms, skip)
            return
        skipped = self.adapter.select(skip)
        for sid, client in list(self.adapter.select(rooms).items()):
            if sid not in skipped:
                ack_id = self._generate_ack_id(sid, callback)
                client.deliver(text_frame(encode_event(event, payload, ack_id)))

    # Acknowledgements

    def acknowledge(self, client: Client, ack_id: int, values: list[Any]) -> bool:
        """Call back for what a client answers; False where it was not asked."""
        if ack_id not in self.callbacks.get(client.sid, ()):
            return False
        task = asyncio.create_task(self._call_back(client, ack_id, values))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _call_back(self, client: Client, ack_id: int, values: list[Any]) -> None:
        try:
            await self.trigger_callback(client.sid, ack_id, values)
        except Exception as error:
            self.server.sockets.log_failure(client, "callback", error)

    async def trigger_callback(self, sid: str, id: int, data: Any) -> None:
        try:
            await super().trigger_callback(sid, id, data)
        finally:
            self._forget_callback(sid, id)

    def _generate_ack_id(self, sid: str, callback: Any) -> int:
        if not isinstance(sid, str):
            raise TypeError("a callback is for one client or one room")
        ack_id = next(self._ack_ids)
        self.callbacks.setdefault(sid, {})[ack_id] = callback
        loop = asyncio.get_running_loop()
        loop.call_later(CALLBACK_TTL, self._forget_callback, sid, ack_id)
        return ack_id

    def _forget_callback(self, sid: str, ack_id: int) -> None:
        waiting = self.callbacks.get(sid)
        if waiting is not None:
            waiting.pop(ack_id, None)
            if not waiting:
                del self.callbacks[sid]


class RedisManager(socketio.AsyncRedisManager, Manager):  # type: ignore[misc]
    """A `socketio.AsyncRedisManager`: a `Manager` that talks to those of other nodes.

    It does so over the bus of the node, which signs and bounds what it carries, and not
    over a connection to Redis of its own.
    """

    def __init__(self, bus: Bus, *, takes_external: bool = False) -> None:
        """`takes_external`: clients are sent what other programs emit."""
        super().__init__(channel=SOCKETIO_CHANNEL)
        self._bus = bus
        self._takes_external = takes_external
        self._unread: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_UNREAD)
        self._log = structlog.get_logger(__name__)

    def initialize(self) -> None:
        self._cluster.listen()
        self._bus.listen(SOCKETIO_CHANNEL)
        super().initialize()

    def close(self) -> None:
        if hasattr(self, "thread"):
            self.thread.cancel()

    @property
    def _cluster(self) -> ClusterAdapter:
        assert isinstance(self.adapter, ClusterAdapter)
        return self.adapter

    def receive(self, channel: str, body: bytes) -> None:
        """Take what another node published, for the rooms or for this manager."""
        if channel == SOCKETIO_CHANNEL:
            self._take(_load(body))
        else:
            self._cluster.receive(channel, body)

    def receive_external(self, body: bytes) -> None:
        """Take an event of another program: never a command, nor an event of the server's."""
        message = _load(body)
        reason = refusal_of(message) if self._takes_external else "redis.external_emitters is off"
        if reason is None:
            self._take(message)
            return
        self.external_refused += 1
        if self._takes_external:
            self._log.warning("external_emit_refused", reason=reason)

    def _take(self, message: dict[str, Any]) -> None:
        try:
            self._unread.put_nowait(message)
        except asyncio.QueueFull:
            self._log.error("socketio_messages_dropped")

    async def _publish(self, data: dict[str, Any]) -> None:
        self._bus.publish([SOCKETIO_CHANNEL], orjson.dumps(data))

    async def _listen(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._unread.get()


def create_manager(bus: Bus | None, *, takes_external: bool) -> Manager:
    """The manager of one node among several, or of one alone, which has no `bus`."""
    return Manager() if bus is None else RedisManager(bus, takes_external=takes_external)


def _load(body: bytes) -> dict[str, Any]:
    """A message of python-socketio's protocol; one of any other form is an empty one.

    JSON alone: whoever can make us unpickle something runs code here.
    """
    try:
        data = orjson.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
