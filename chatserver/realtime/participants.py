"""Clients and rooms of the adapter, under the names that python-socketio's managers have."""

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from chatserver.sio.adapter import EVERYONE, Adapter
from chatserver.sio.client import Client


class Unsupported(NotImplementedError):
    """Raised for what python-socketio documents and this server does not do; the text says why."""


def names_of(value: Any) -> list[str]:
    if value is None:
        return []
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    names = [value] if is_one else list(value)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("rooms and clients are named by strings")
    return names


def check_namespace(namespace: str | None) -> None:
    if namespace not in (None, "/"):
        raise Unsupported('only the namespace "/" is served: a connection has one client')


def _leave_to_clients() -> NoReturn:
    raise Unsupported("clients connect by themselves, and leave by disconnect()")


class Participants:
    """Clients and rooms of this node, with the methods of a `socketio.AsyncManager`."""

    server: Any

    @property
    def adapter(self) -> Adapter:
        adapter: Adapter = self.server.sockets.adapter
        return adapter

    # Clients

    def get_namespaces(self) -> list[str]:
        return ["/"]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        rooms = [EVERYONE] if room is None else names_of(room)
        clients = self.adapter.select(rooms) if namespace == "/" else {}
        for sid, client in list(clients.items()):
            yield sid, client.socket.sid

    def is_connected(self, sid: str, namespace: str) -> bool:
        client = self._client(sid, namespace)
        return client is not None and client.is_connected and not client.has_left

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        client = self._client(sid, namespace)
        return client is not None and not client.is_connected and not client.has_left

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        client = self._client(sid, namespace)
        return None if client is None else client.socket.sid

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        socket = self.server.sockets.engine.sockets.get(eio_sid)
        return None if socket is None or namespace != "/" else socket.receiver.sid or None

    async def disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        check_namespace(namespace)
        self.server.sockets.disconnect(sid)

    async def pre_connect(self, eio_sid: str, namespace: str) -> NoReturn:
        _leave_to_clients()

    async def connect(self, sid: str, namespace: str) -> NoReturn:
        _leave_to_clients()

    def pre_disconnect(self, sid: str, namespace: str) -> NoReturn:
        _leave_to_clients()

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> NoReturn:
        _leave_to_clients()

    def _client(self, sid: str, namespace: str) -> Client | None:
        return self.adapter.get_client(sid) if namespace == "/" else None

    # Rooms

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        client = self._client(sid, namespace)
        return [] if client is None else [sid, *sorted(client.rooms)]

    def is_sid_room(self, namespace: str, room: str) -> bool:
        return self._client(room, namespace) is not None

    def basic_enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        (room,) = names_of(room)
        client = self._client(sid, namespace)
        if client is None:
            raise ValueError("sid is not connected to requested namespace")
        self.adapter.enter(client, room)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        client = self._client(sid, namespace)
        if client is not None:
            self.adapter.leave(client, room)

    def basic_close_room(self, room: str, namespace: str) -> None:
        check_namespace(namespace)
        if self.is_sid_room("/", room):
            raise ValueError("cannot close a sid room")
        self.adapter.close(room)

    async def enter_room(
        self, sid: str, namespace: str, room: str, eio_sid: str | None = None
    ) -> None:
        self.basic_enter_room(sid, namespace, room)
        await self.adapter.entered(room)
