"""A websocket client that costs little: frames by hand on asyncio's Protocol.

Frames are masked, as a client must, with a mask of zeros: the server's work is the
same, ours is none. No extension is offered, so nobody compresses.
"""

import asyncio
from collections.abc import Callable
from typing import cast

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class SocketError(Exception):
    """The connection could not be opened, or broke."""


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    size = len(payload)
    if size < 126:
        return b"%c%c\0\0\0\0%b" % (0x80 | opcode, 0x80 | size, payload)
    return b"%c\xfe%c%c\0\0\0\0%b" % (0x80 | opcode, size >> 8, size & 255, payload)


class Socket(asyncio.Protocol):
    """One websocket. `receive` gets the payload of each text frame."""

    __slots__ = ("_buffer", "_is_open", "_request", "opened", "receive", "transport")

    def __init__(self, request: bytes, opened: "asyncio.Future[None]") -> None:
        self._request = request
        self._buffer = b""
        self._is_open = False
        self.opened = opened
        self.receive: Callable[[bytes], None] = _ignore
        self.transport: asyncio.Transport

    @classmethod
    async def connect(cls, port: int, path: str, receive: Callable[[bytes], None]) -> "Socket":
        """Open a websocket; returns once the server has agreed to the upgrade."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        request = _REQUEST.format(path=path, port=port).encode()
        _, socket = await loop.create_connection(lambda: cls(request, opened), "127.0.0.1", port)
        socket.receive = receive
        await opened
        return socket

    def send(self, payload: bytes) -> None:
        """Send a text frame of at most 65,535 bytes."""
        self.transport.write(frame(payload))

    def close(self) -> None:
        self.receive = _ignore
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(SocketError("closed while it was being opened"))

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if self._is_open:
            self._buffer = self._read_frames(data)
            return
        self._buffer = data
        head, end, rest = data.partition(b"\r\n\r\n")
        if end:
            self._open(head, rest)

    def _open(self, head: bytes, rest: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(SocketError(head.partition(b"\r\n")[0].decode()))
            self.transport.abort()
            return
        self._is_open = True
        self.opened.set_result(None)
        # In a later turn, when whoever waits has set `receive`.
        self._buffer = rest
        if rest:
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._buffer = self._read_frames(self._buffer)

    def _read_frames(self, data: bytes) -> bytes:
        """Hand on all that is whole; answers the rest."""
        position, size = 0, len(data)
        while size - position >= 2:
            length, start = data[position + 1], position + 2
            if length > 125:
                width = 2 if length == 126 else 8
                if size < start + width:
                    break
                length = int.from_bytes(data[start : start + width])
                start += width
            end = start + length
            if end > size:
                break
            if data[position] == 0x81:
                self.receive(data[start:end])
            else:
                self._control(data[position], data[start:end])
            position = end
        return data[position:]

    def _control(self, first: int, payload: bytes) -> None:
        if first & 15 == PING:
            self.transport.write(frame(payload, PONG))
        elif first & 15 == CLOSE:
            self.transport.close()
        elif first & 15 != PONG:
            raise SocketError(f"unexpected frame {first:#x}")


def _ignore(_: bytes) -> None:
    """For a socket that nobody listens to."""
