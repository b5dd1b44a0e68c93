"""Protocols of clients: Socket.IO for most servers, the seed's own JSON for one.

Reading looks for the few bytes that count instead of parsing JSON: it is the same
for every server, and leaves the machine to them.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol
from uuid import UUID

TEXT = "Is the flat still free? I could come by on Saturday morning at ten."

# client_msg_id is this and the number of the message, in hexadecimal.
_KEY = "00000000-0000-4000-8000-"


class Kind(IntEnum):
    """Kind of a server's packet."""

    OTHER = 0
    OPEN = 1
    READY = 2
    PING = 3
    ACKNOWLEDGED = 4
    MESSAGE = 5
    REFUSED = 6


Packet = tuple[int, int, int]
"""Kind, number of the message, and seq; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Person:
    """A participant of one conversation, with a token."""

    user_id: UUID
    conversation_id: UUID
    token: str


class Dialect(Protocol):
    copy_acknowledges: bool
    """True if the sender's own copy is the acknowledgement, instead of a packet of its own."""

    def path(self, person: Person) -> str:
        """Return the path and query with which the websocket is opened."""

    def greeting(self, person: Person) -> bytes | None:
        """The answer to OPEN; None if the socket is ready as soon as it is open."""

    def message(self, person: Person, number: int) -> bytes:
        """A message that asks to be acknowledged."""

    def read(self, payload: bytes) -> Packet:
        """Parse a packet."""


_OTHER: Packet = (Kind.OTHER, 0, 0)

# By the first two bytes; an Engine.IO open packet is 0 and JSON.
_OF_CONNECTION: dict[bytes, Packet] = {
    b"0{": (Kind.OPEN, 0, 0),
    b"2": (Kind.PING, 0, 0),
    b"40": (Kind.READY, 0, 0),
    b"44": (Kind.REFUSED, 0, 0),
}


class SocketIO:
    """Engine.IO and Socket.IO over a websocket, as the product's contract has it."""

    copy_acknowledges = False

    def path(self, person: Person) -> str:
        return "/socket.io/?EIO=4&transport=websocket"

    def greeting(self, person: Person) -> bytes | None:
        return b'40{"token":"%b"}' % person.token.encode()

    def message(self, person: Person, number: int) -> bytes:
        return (
            f'42{number}["message",{{"conversation_id":"{person.conversation_id}",'
            f'"content":"{TEXT}","client_msg_id":"{_KEY}{number:012x}"}}]'
        ).encode()

    def read(self, payload: bytes) -> Packet:
        if payload.startswith(b'42["message",'):
            return Kind.MESSAGE, number_in(payload), seq_in(payload)
        start = payload[:2]
        if start == b"43":
            bracket = payload.find(b"[")
            is_ok = payload.find(b'"ok":true', bracket) > 0
            kind = Kind.ACKNOWLEDGED if is_ok else Kind.REFUSED
            return kind, int(payload[2:bracket]), 0
        return _OF_CONNECTION.get(start, _OTHER)


class PlainJSON:
    """The seed's: JSON over a raw websocket that belongs to one conversation."""

    copy_acknowledges = True

    def path(self, person: Person) -> str:
        return f"/ws/chat/{person.conversation_id}?token={person.token}"

    def greeting(self, person: Person) -> bytes | None:
        return None

    def message(self, person: Person, number: int) -> bytes:
        return (
            f'{{"type":"message","content":"{TEXT}","client_msg_id":"{_KEY}{number:012x}"}}'
        ).encode()

    def read(self, payload: bytes) -> Packet:
        if payload.startswith(b'{"type":"message"'):
            return Kind.MESSAGE, number_in(payload), seq_in(payload)
        if payload.startswith(b'{"type":"error"'):
            return Kind.REFUSED, 0, 0
        return _OTHER


def number_in(payload: bytes) -> int:
    start = payload.index(b'"client_msg_id":"') + 17 + len(_KEY)
    return int(payload[start : start + 12], 16)


def seq_in(payload: bytes) -> int:
    start = payload.index(b'"seq":') + 6
    end = start + 1
    while payload[end] in b"0123456789":
        end += 1
    return int(payload[start:end])
