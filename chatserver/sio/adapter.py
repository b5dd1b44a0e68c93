"""Rooms: who receives what on this node, and the fan-out that encodes once."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import socketio  # type: ignore[import-untyped]

from chatserver.eio.websocket import text_frame
from chatserver.sio.packets import encode_event

if TYPE_CHECKING:
    from chatserver.sio.client import Peer


EVERYONE: Final = "*"
"""The room of all sockets: nobody enters or leaves it."""

Filter = Callable[[Sequence[str], dict[str, Any]], dict[str, Any] | None]
"""Takes the rooms and the payload of an event that is about to be delivered: what to
deliver instead, or None to keep it back."""


def user_room(user_id: UUID | str) -> str:
    """The room of all devices of a user."""
    return f"user:{user_id}"


def user_of(room: str) -> UUID:
    """Whose room it is. Raises ValueError for any other."""
    return UUID(room.removeprefix(user_room("")))


def conversation_room(conversation_id: UUID | str) -> str:
    """The room of the sockets that joined a conversation."""
    return f"conversation:{conversation_id}"


def presence_room(user_id: UUID | str) -> str:
    """The room of the sockets that joined a conversation with a user; never the user's own."""
    return f"presence:{user_id}"


class Rooms(socketio.AsyncManager):  # type: ignore[misc]
    """python-socketio's client manager for the one namespace "/".

    Knows each connected peer by its sid, and for each peer its rooms, so that a
    disconnect costs what the peer was in and not what the node has. A peer's sid
    serves as the name of a room with that peer alone, and EVERYONE is the room of all
    of them. Another namespace has nobody
    in it.
    """

    def __init__(self, filters: Mapping[str, Filter] | None = None) -> None:
        """`filters` are for events by their name."""
        super().__init__()
        self._filters = dict(filters or {})
        self._peers: dict[str, Peer] = {}
        self._members: dict[str, dict[str, Peer]] = {}

    # Fan-out

    def emit_now(
        self, event: str, payload: Any, rooms: Sequence[str], skip: Collection[str] = ()
    ) -> int:
        """Send an event to every peer in any of `rooms` but those in one of the rooms `skip`.

        One copy for each peer, in the order of the calls. Returns how many peers it
        was queued for. Never blocks and never raises because of a peer; raises
        TypeError for a payload that JSON cannot hold.
        """
        return self.emit_local(event, payload, rooms, skip)

    def emit_local(
        self, event: str, payload: Any, rooms: Sequence[str], skip: Collection[str] = ()
    ) -> int:
        """`emit_now` to the peers of this node alone."""
        peers = self._select(rooms)
        if peers and event in self._filters:
            payload = self._filters[event](rooms, payload)
            if payload is None:
                return 0
        return self._deliver(text_frame(encode_event(event, payload)), peers, skip) if peers else 0

    def _deliver(self, frame: bytes, peers: "dict[str, Peer]", skip: Collection[str]) -> int:
        skipped = set().union(*map(self._members_of, skip)) if skip else ()
        reached = 0
        for sid, peer in peers.items():
            if sid not in skipped and peer.deliver(frame):
                reached += 1
        return reached

    def _select(self, rooms: Sequence[str]) -> "dict[str, Peer]":
        if len(rooms) == 1:
            return self._members_of(rooms[0])
        selected: dict[str, Peer] = {}
        for room in rooms:
            selected.update(self._members_of(room))
        return selected

    def _members_of(self, room: str) -> "dict[str, Peer]":
        if room == EVERYONE:
            return {sid: peer for sid, peer in self._peers.items() if not peer.has_left}
        members = self._members.get(room)
        if members is None:
            peer = self._peers.get(room)
            members = {} if peer is None or peer.has_left else {room: peer}
        return members

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: str | Sequence[str] | None = None,
        skip_sid: str | Sequence[str] | None = None,
        callback: Any = None,
        to: str | Sequence[str] | None = None,
        **_: Any,
    ) -> None:
        """python-socketio's way to `emit_now`; without a room it goes to everyone."""
        if callback is not None:
            raise ValueError("clients are not asked for acknowledgements")
        target = to or room
        rooms = list(self._peers) if target is None else _as_list(target)
        if namespace == "/":
            self.emit_now(event, data, rooms, _as_list(skip_sid))

    # Peers

    def add_peer(self, peer: "Peer") -> None:
        """Let `peer` be found by its sid and enter rooms, from before it is connected."""
        self._peers[peer.sid] = peer

    def remove_from_rooms(self, peer: "Peer") -> None:
        """Stop all delivery to `peer`; the names of its rooms stay readable."""
        for room in peer.rooms:
            self._drop_member(room, peer.sid)

    def forget_peer(self, peer: "Peer") -> None:
        self.remove_from_rooms(peer)
        self._peers.pop(peer.sid, None)

    def get_peer(self, sid: str) -> "Peer | None":
        """The peer, until its disconnect handler has returned."""
        return self._peers.get(sid)

    def sids_in(self, room: str) -> Collection[str]:
        """A view of who is in a room."""
        return self._members_of(room).keys()

    def list_peers(self) -> "list[Peer]":
        return list(self._peers.values())

    def _drop_member(self, room: str, sid: str) -> None:
        members = self._members.get(room)
        if members is not None:
            members.pop(sid, None)
            if not members:
                del self._members[room]
                self._room_closed(room)

    def _room_opened(self, room: str) -> None:
        """`room` has its first member."""

    def _room_closed(self, room: str) -> None:
        """The last member of `room` has gone."""

    async def entered(self, room: str) -> None:
        """Until whatever is emitted to `room`, wherever, reaches its members here."""

    # What python-socketio calls

    def get_namespaces(self) -> list[str]:
        return ["/"]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        rooms = list(self._peers) if room is None else _as_list(room)
        if namespace == "/":
            for sid, peer in list(self._select(rooms).items()):
                yield sid, peer.socket.sid

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        peer = self._peers.get(sid)
        return [] if peer is None or namespace != "/" else sorted(peer.rooms)

    def is_connected(self, sid: str, namespace: str) -> bool:
        peer = self._peers.get(sid)
        return peer is not None and namespace == "/" and peer.is_connected and not peer.has_left

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        peer = self._peers.get(sid)
        return None if peer is None or namespace != "/" else peer.socket.sid

    def is_sid_room(self, namespace: str, room: str) -> bool:
        return namespace == "/" and room in self._peers

    def basic_enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        """Add a peer to a room; nothing happens for one that has gone, so no ghost stays."""
        peer = self._peers.get(sid)
        if peer is None or peer.has_left or namespace != "/":
            return
        if room in self._peers or room == EVERYONE:
            raise ValueError("cannot enter a sid room, nor that of everyone")
        members = self._members.get(room)
        if members is None:
            members = self._members[room] = {}
            self._room_opened(room)
        members[sid] = peer
        peer.rooms.add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        peer = self._peers.get(sid)
        if peer is not None and namespace == "/":
            peer.rooms.discard(room)
            self._drop_member(room, sid)

    def basic_close_room(self, room: str, namespace: str) -> None:
        for sid in list(self._members.get(room, ())):
            self.basic_leave_room(sid, namespace, room)

    async def trigger_callback(self, sid: str, id: int, data: Any) -> None:
        """Ignore a client's acknowledgement: none is ever asked for."""


def _as_list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
