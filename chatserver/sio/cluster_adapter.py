"""Rooms over all nodes: each node hears only what concerns the rooms that live on it."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from chatserver.eio.websocket import text_frame
from chatserver.sio.adapter import EVERYONE, Adapter, Filter, deliver
from chatserver.sio.packets import EVENT_PREFIX, encode_event

LISTEN_TIMEOUT: Final = 0.5
"""Seconds that entering a room waits for the bus."""


class Bus(Protocol):
    """Bus that carries events from node to node, by channels."""

    @property
    def is_receiving(self) -> bool: ...

    def publish(self, channels: Collection[str], body: bytes) -> None: ...

    def listen(self, channel: str) -> asyncio.Future[None]: ...

    def leave(self, channel: str) -> None: ...


class ClusterAdapter(Adapter):
    """The rooms of one node among several.

    A room is a channel of the bus, listened on while the room has a member here, as
    in Socket.IO's sharded adapter. An event goes to its local members at once, and
    once to each other node that has members of any of its rooms. A client's own room,
    its sid, is known on its node alone.
    """

    def __init__(self, bus: Bus, filters: Mapping[str, Filter] | None = None) -> None:
        super().__init__(filters)
        self._bus = bus
        self._channels: dict[str, str] = {}  # of the rooms that are none themselves
        self._listening: Counter[str] = Counter()  # for how many rooms, on each channel

    def listen(self) -> None:
        """Hear what concerns every node; to be called once the loop runs."""
        self._bus.listen(EVERYONE)

    # Fan-out

    def emit_now(
        self,
        event: str,
        payload: Any,
        rooms: Sequence[str],
        skip: Sequence[str] = (),
        among: Sequence[str] | None = None,
        channels: Sequence[str] | None = None,
    ) -> int:
        packet = encode_event(event, payload)
        shared = [room for room in rooms if room not in self._clients]
        if shared:
            head = orjson.dumps((shared, skip) if among is None else (shared, skip, among))
            self._bus.publish(shared if channels is None else channels, head + b"\n" + packet)
        if event in self._filters:
            return self.emit_local(event, payload, rooms, skip, among)
        return deliver(text_frame(packet), self.select(rooms, skip, among))

    def receive(self, channel: str, body: bytes) -> None:
        """Take what another node published; what is not of the right form is ignored."""
        head, _, packet = body.partition(b"\n")
        try:
            rooms, skip, *more = orjson.loads(head)
            event, payload = orjson.loads(packet.removeprefix(EVENT_PREFIX))
        except (ValueError, TypeError):
            return
        if not (all(map(_is_names, (rooms, skip, *more))) and isinstance(event, str)):
            return
        among = more[0] if more else None
        if event in self._filters:
            self.emit_local(event, payload, rooms, skip, among)
        elif packet.startswith(EVENT_PREFIX):
            deliver(text_frame(packet), self.select(rooms, skip, among))

    # Membership

    def _room_opened(self, room: str, channel: str) -> None:
        if channel != room:
            self._channels[room] = channel
        self._listening[channel] += 1
        if self._listening[channel] == 1:
            self._bus.listen(channel)

    def _room_closed(self, room: str) -> None:
        channel = self._channels.pop(room, room)
        self._listening[channel] -= 1
        if not self._listening[channel]:
            del self._listening[channel]
            self._bus.leave(channel)

    async def entered(self, room: str) -> None:
        """Until what other nodes emit to `room` arrives here.

        Without the bus this ends soon: the bus then has a gap, and the node tells its
        clients what they may have missed.
        """
        if not self._bus.is_receiving or room not in self._members:
            return
        confirmed = self._bus.listen(self._channels.get(room, room))
        if not confirmed.done():
            await asyncio.wait([confirmed], timeout=LISTEN_TIMEOUT)


def create_adapter(bus: Bus | None, filters: Mapping[str, Filter]) -> Adapter:
    """The rooms of one node among several, or of one alone, which has no `bus`."""
    return Adapter(filters) if bus is None else ClusterAdapter(bus, filters)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
