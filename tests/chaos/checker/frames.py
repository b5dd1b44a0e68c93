"""A client's half of a websocket, lean: text frames and no compression."""

import asyncio
import struct
from collections.abc import Callable
from typing import Final

_TEXT: Final = 1
_CLOSE: Final = 8
_PING: Final = 9

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class WebSocketClient(asyncio.Protocol):
    """Gives each text that arrives to `on_text`; `ended` is set when it is over.

    A key of zeros masks each frame: that is allowed, and costs nothing.
    """

    def __init__(self, path: str, on_text: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self.is_open: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._path = path
        self._on_text = on_text
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int, path: str, on_text: Callable[[str], None]) -> "WebSocketClient":
        """Raises OSError where there is no server, or one that wants no websocket."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(path, on_text), "127.0.0.1", port)
        is_open = False
        try:
            is_open = await client.is_open
        finally:
            if not is_open:
                client.abort()
        if not is_open:
            raise ConnectionRefusedError("no websocket")
        return client

    def send(self, text: str) -> None:
        if self._transport is not None:
            self._transport.write(_frame(text.encode()))

    def abort(self) -> None:
        """Vanish, without a close frame."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_HANDSHAKE.format(path=self._path).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.is_open.done():
            self.is_open.set_result(False)
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open.done() and not self._take_handshake():
            return
        while self._take_frame():
            pass

    def _take_handshake(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        accepted = self._buffer.startswith(b"HTTP/1.1 101")
        del self._buffer[: end + 4]
        self.is_open.set_result(accepted)
        return accepted

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        head, size = 2, buffer[1]
        if size == 126 and len(buffer) >= 4:
            head, size = 4, struct.unpack_from("!H", buffer, 2)[0]
        elif size == 127 and len(buffer) >= 10:
            head, size = 10, struct.unpack_from("!Q", buffer, 2)[0]
        elif size > 125:
            return False
        if len(buffer) < head + size:
            return False
        kind, payload = buffer[0] & 0x0F, bytes(buffer[head : head + size])
        del buffer[: head + size]
        if kind == _TEXT:
            self._on_text(payload.decode())
        elif kind == _CLOSE and self._transport is not None:
            self._transport.close()
        return kind != _CLOSE


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB4x", 0x80 | _TEXT, 0x80 | size) + payload
    if size < 65536:
        return struct.pack("!BBH4x", 0x80 | _TEXT, 0x80 | 126, size) + payload
    return struct.pack("!BBQ4x", 0x80 | _TEXT, 0x80 | 127, size) + payload
