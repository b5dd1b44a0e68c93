"""Rooms over all nodes: each node hears only what concerns the rooms that live on it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson
import socketio  # type: ignore[import-untyped]
import structlog

from chatserver.eio.websocket import text_frame
from chatserver.schemas.events import EVENTS
from chatserver.sio.adapter import EVERYONE, Filter, Rooms
from chatserver.sio.packets import EVENT_PREFIX, encode_event

SOCKETIO_CHANNEL: Final = "socketio"
"""What python-socketio itself has to tell goes here; so does what another program emits
with `socketio.AsyncRedisManager(url, channel="<prefix>:socketio", write_only=True)`."""

RESERVED: Final = EVENTS.keys() | {"connect", "connect_error", "disconnect", "disconnecting"}
"""Events that no other program may emit: clients believe that these are the server's."""

LISTEN_TIMEOUT: Final = 0.5
"""Seconds that entering a room waits for Redis."""


class Bus(Protocol):
    """What `backplane.redis_bus.RedisBus` is to rooms."""

    @property
    def is_heard(self) -> bool: ...

    def publish(self, channels: Collection[str], body: bytes) -> None: ...

    def listen(self, channel: str) -> asyncio.Future[None]: ...

    def leave(self, channel: str) -> None: ...


class SharedRooms(Rooms, socketio.AsyncRedisManager):  # type: ignore[misc]
    """The client manager of one node among several.

    A room is a channel of the bus, listened on while the room has a member here, as
    in Socket.IO's sharded adapter. An event goes to its local members at once, and
    once to each other node that has members of any of its rooms. A peer's own room,
    its sid, is known on its node alone.

    Nothing of python-socketio's connection to Redis is used, only its protocol.
    """

    def __init__(
        self,
        bus: Bus,
        filters: Mapping[str, Filter] | None = None,
        *,
        takes_external: bool = False,
    ) -> None:
        """`takes_external`: clients are sent what other programs emit."""
        super().__init__(filters)
        self._bus = bus
        self._takes_external = takes_external
        self.external_refused = 0
        """Messages of other programs that were not obeyed."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    def initialize(self) -> None:
        """Called by python-socketio with the first socket; the bus is there long before."""

    def listen(self) -> None:
        """Hear what concerns every node; to be called once the loop runs."""
        for channel in (EVERYONE, SOCKETIO_CHANNEL):
            self._bus.listen(channel)

    # Fan-out

    def emit_now(
        self, event: str, payload: Any, rooms: Sequence[str], skip: Collection[str] = ()
    ) -> int:
        """As `Rooms.emit_now`, on every node; returns how many local peers it reached."""
        packet = encode_event(event, payload)
        if shared := [room for room in rooms if room not in self._peers]:
            self._bus.publish(shared, orjson.dumps((shared, list(skip))) + b"\n" + packet)
        if event in self._filters:
            return self.emit_local(event, payload, rooms, skip)
        return self._deliver(text_frame(packet), self._select(rooms), skip)

    def receive(self, channel: str, body: bytes) -> None:
        """Take what another node published; what is not of the right form is ignored."""
        if channel == SOCKETIO_CHANNEL:
            data = _load(body)
            self._obey(data.get("method"), data)
            return
        head, _, packet = body.partition(b"\n")
        try:
            rooms, skip = orjson.loads(head)
            event, payload = orjson.loads(packet.removeprefix(EVENT_PREFIX))
        except (ValueError, TypeError):
            return
        if not (_is_names(rooms) and _is_names(skip) and isinstance(event, str)):
            return
        if event in self._filters:
            self.emit_local(event, payload, rooms, skip)
        elif packet.startswith(EVENT_PREFIX):
            self._deliver(text_frame(packet), self._select(rooms), skip)

    # Membership

    def _room_opened(self, room: str) -> None:
        self._bus.listen(room)

    def _room_closed(self, room: str) -> None:
        self._bus.leave(room)

    async def entered(self, room: str) -> None:
        """Until what other nodes emit to `room` arrives here.

        Without Redis this gives up soon: the node is in doubt then, and tells its
        sockets what they may have missed.
        """
        if not self._bus.is_heard or room in self._peers or room not in self._members:
            return
        confirmed = self._bus.listen(room)
        if not confirmed.done():
            await asyncio.wait([confirmed], timeout=LISTEN_TIMEOUT)

    # python-socketio's own protocol

    async def _publish(self, data: dict[str, Any]) -> None:
        self._bus.publish([SOCKETIO_CHANNEL], orjson.dumps(data))

    def receive_external(self, body: bytes) -> None:
        """Take an event of another program: never a command, nor an event of the server's."""
        data = _load(body)
        event = data.get("event")
        is_own = not isinstance(event, str) or event in RESERVED
        if self._takes_external and data.get("method") == "emit" and not is_own:
            self._obey("emit", data)
        else:
            self.external_refused += 1

    def _obey(self, method: Any, data: dict[str, Any]) -> None:
        handlers = {
            "emit": self._handle_emit,
            "disconnect": self._handle_disconnect,
            "enter_room": self._handle_enter_room,
            "leave_room": self._handle_leave_room,
            "close_room": self._handle_close_room,
        }
        if isinstance(method, str) and method in handlers:
            task = asyncio.create_task(self._handle(handlers[method], data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, handler: Any, data: dict[str, Any]) -> None:
        try:
            await handler(data)
        except Exception:
            self._log.warning("socketio_message_failed", method=data["method"])

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        """An emit of python-socketio. Every node hears of it, so each tells its own."""
        data, room = message["data"], message.get("room")
        if message.get("binary") or message.get("namespace") != "/":
            return
        payload = data[0] if isinstance(data, list) and len(data) == 1 else data
        rooms = list(self._peers) if room is None else _as_list(room)
        self.emit_local(message["event"], payload, rooms, _as_list(message.get("skip_sid")))


def create_rooms(bus: Bus | None, filters: Mapping[str, Filter], *, takes_external: bool) -> Rooms:
    """The rooms of one node among several, or of one alone, which has no `bus`."""
    if bus is None:
        return Rooms(filters)
    return SharedRooms(bus, filters, takes_external=takes_external)


def _load(body: bytes) -> dict[str, Any]:
    """A message of python-socketio's protocol; one of any other form is an empty one.

    JSON alone: whoever can make us unpickle something runs code here.
    """
    try:
        data = orjson.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _as_list(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value or []
    if not _is_names(names):
        raise TypeError("rooms are strings")
    return list(names)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
