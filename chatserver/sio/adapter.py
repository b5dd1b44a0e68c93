"""Rooms of one node: who receives what, and the fan-out that encodes once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from chatserver.eio.websocket import text_frame
from chatserver.sio.client import Client
from chatserver.sio.packets import encode_event

EVERYONE: Final = "*"
"""The room of all clients: nobody enters or leaves it."""

Filter = Callable[[Collection[Client], dict[str, Any]], dict[str, Any] | None]
"""Takes the payload of an event that is about to be delivered to these clients: what to
deliver instead, or None to keep it back."""


class Adapter:
    """Knows each client by its sid, and for each client its rooms, so that a disconnect
    costs what the client was in and not what the node has. A client's sid serves as the
    name of a room with that client alone, and EVERYONE is the room of all of them.
    """

    def __init__(self, filters: Mapping[str, Filter] | None = None) -> None:
        """`filters` are for events by their name."""
        self._filters = dict(filters or {})
        self._clients: dict[str, Client] = {}
        self._members: dict[str, dict[str, Client]] = {}

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
        """Send an event to every client in any of `rooms` but those in one of the rooms `skip`.

        Where `among` is given, only to those who are in one of these rooms, too. One copy
        for each client, in the order of the calls. Returns how many clients of this node
        it was queued for. Never blocks and never raises because of a client; raises
        TypeError for a payload that JSON cannot hold. `channels` are the channels of the
        rooms where they are not the rooms themselves (see `enter`).
        """
        return self.emit_local(event, payload, rooms, skip, among)

    def emit_local(
        self,
        event: str,
        payload: Any,
        rooms: Sequence[str],
        skip: Sequence[str] = (),
        among: Sequence[str] | None = None,
    ) -> int:
        """`emit_now` to the clients of this node alone."""
        clients = self.select(rooms, skip, among)
        if clients and event in self._filters:
            payload = self._filters[event](clients.values(), payload)
            if payload is None:
                return 0
        return deliver(text_frame(encode_event(event, payload)), clients) if clients else 0

    def select(
        self, rooms: Sequence[str], skip: Sequence[str] = (), among: Sequence[str] | None = None
    ) -> Mapping[str, Client]:
        """Whom `emit_local` reaches, by their sids; gone with the next change."""
        found = [members for room in rooms if (members := self._members_of(room))]
        if len(found) == 1:
            clients = found[0]
        else:
            clients = {sid: client for members in found for sid, client in members.items()}
        if clients and (skip or among is not None):
            skipped, allowed = self.select(skip), clients if among is None else self.select(among)
            chosen = (sid for sid in clients if sid in allowed and sid not in skipped)
            return {sid: clients[sid] for sid in chosen}
        return clients

    def _members_of(self, room: str) -> dict[str, Client]:
        if room == EVERYONE:
            return {sid: client for sid, client in self._clients.items() if not client.has_left}
        members = self._members.get(room)
        if members is None:
            client = self._clients.get(room)
            members = {} if client is None or client.has_left else {room: client}
        return members

    # Clients

    def add_client(self, client: Client) -> None:
        """Let `client` be found by its sid and enter rooms, from before it is connected."""
        self._clients[client.sid] = client

    def remove_from_rooms(self, client: Client) -> None:
        """Stop all delivery to `client`; the names of its rooms stay readable."""
        for room in client.rooms:
            self._drop_member(room, client.sid)

    def forget_client(self, client: Client) -> None:
        self.remove_from_rooms(client)
        self._clients.pop(client.sid, None)

    def get_client(self, sid: str) -> Client | None:
        """The client, until its disconnect handler has returned."""
        return self._clients.get(sid)

    def list_clients(self) -> list[Client]:
        return list(self._clients.values())

    # Rooms

    def enter(self, client: Client, room: str, channel: str | None = None) -> None:
        """Add a client to a room; nothing happens for one that has gone, so no ghost stays.

        Raises ValueError for the room of a sid or of EVERYONE. `channel` is the room over
        whose channel other nodes send to this one, where that is not `room` itself: it has
        to be the same for all who enter.
        """
        if client.has_left:
            return
        if room in self._clients or room == EVERYONE:
            raise ValueError("cannot enter a sid room, nor that of everyone")
        members = self._members.get(room)
        if members is None:
            members = self._members[room] = {}
            self._room_opened(room, channel or room)
        members[client.sid] = client
        client.rooms.add(room)

    def leave(self, client: Client, room: str) -> None:
        client.rooms.discard(room)
        self._drop_member(room, client.sid)

    def close(self, room: str) -> None:
        """Have everyone leave a room."""
        for client in list(self._members.get(room, {}).values()):
            self.leave(client, room)

    def _drop_member(self, room: str, sid: str) -> None:
        members = self._members.get(room)
        if members is not None:
            members.pop(sid, None)
            if not members:
                del self._members[room]
                self._room_closed(room)

    def _room_opened(self, room: str, channel: str) -> None:
        """`room` has its first member."""

    def _room_closed(self, room: str) -> None:
        """The last member of `room` has gone."""

    async def entered(self, room: str) -> None:
        """Until whatever is emitted to `room`, wherever, reaches its members here."""


def deliver(frame: bytes, clients: Mapping[str, Client]) -> int:
    """Queue `frame` for `clients`; for how many it could be done."""
    reached = 0
    for client in clients.values():
        if client.deliver(frame):
            reached += 1
    return reached
