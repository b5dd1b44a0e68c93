"""An open websocket: the protocol of its TCP connection, which HTTP has left.

After the handshake nothing of the request is kept, and no task lives: the transport calls
`data_received`, and whoever listens gets each message in that same call.

A server's frames are not masked, so one frame is the same bytes for every receiver:
it is built once and written as it is, several of them in one call. Nothing here
awaits a write; whoever writes looks at `buffered` and decides when it is too much.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from chatserver.eio.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, FrameReader

# What a listener receives for a binary message: the mark of a binary packet in a polling
# body, so that both transports refuse binary in the same place.
BINARY_MARK: Final = b"b"

# How long a peer may take to answer our close frame, in seconds.
CLOSE_GRACE: Final = 1.0

NORMAL: Final = 1000

_TEXT_FRAME: Final = 0x81
_CLOSE_FRAME: Final = 0x88
_PONG_FRAME: Final = 0x8A


def text_frame(payload: bytes) -> bytes:
    """The bytes on the wire of one text message."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (_TEXT_FRAME, size, payload)
    if size < 65536:
        return struct.pack("!BBH", _TEXT_FRAME, 126, size) + payload
    return struct.pack("!BBQ", _TEXT_FRAME, 127, size) + payload


def frame_payload(frame: bytes) -> bytes:
    """The message inside a `text_frame`, for a transport that is no websocket."""
    size = frame[1]
    return frame[2 if size < 126 else 4 if size == 126 else 10 :]


def _close_frame(code: int) -> bytes:
    return struct.pack("!BBH", _CLOSE_FRAME, 2, code)


class Listener(Protocol):
    """Whom an open websocket tells what comes, in its order. Calls never block or raise."""

    def receive_packet(self, data: bytes) -> None:
        """A text message; BINARY_MARK for a binary one; for one over the limit
        OVERSIZE_MARK and its first bytes, where such messages are cut."""

    def receive_control(self, *, is_pong: bool) -> None:
        """A ping, which is answered without the listener, or a pong."""

    def websocket_lost(self) -> None:
        """Nothing more will come: the connection is gone, or about to go; the last call."""


class WebSocket(asyncio.Protocol):
    """One open websocket, without compression: a `transports.Transport`.

    What comes goes to who listens: `listen` may be called again, and what came before it
    waits. A frame against the protocol, and a message over the limit that is not cut, end
    the connection with the close code that fits. All methods are synchronous, may be called
    from anywhere in the loop and never raise because the peer has gone. `on_lost`, if it is
    set, is called when the TCP connection has ended.
    """

    __slots__ = (
        "_closing",
        "_is_lost",
        "_listener",
        "_paused",
        "_reader",
        "_timer",
        "_transport",
        "on_lost",
    )

    def __init__(self, transport: asyncio.Transport, reader: FrameReader) -> None:
        self._transport = transport
        self._reader: FrameReader | None = reader  # None when nothing more is read
        self._listener: Listener | None = None
        self._paused = False
        self._closing = False
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], None] | None = None

    @property
    def buffered(self) -> int:
        """Bytes written that the operating system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def listen(self, listener: Listener) -> None:
        """Give what has come, and what will come, to `listener`, to no other any more."""
        self._listener = listener
        self._read()

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(data)
            self._read()

    def eof_received(self) -> None:
        self._expire()  # the transport now closes itself, once what it has is sent

    def connection_lost(self, _: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()
        self._is_lost = True
        self._read()

    # Reading

    def pause(self) -> None:
        """Deliver nothing, and have the peer wait, until resumed."""
        if not self._paused:
            self._paused = True
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._read()
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _read(self) -> None:
        """Deliver what has come, as far as somebody takes it."""
        try:
            while not self._paused and self._listener is not None and self._reader is not None:
                frame = self._reader.read()
                if frame is None:
                    break
                opcode, payload = frame
                if opcode == CLOSE:
                    self.close(NORMAL)
                    self._transport.close()
                    self._end()
                elif self._closing:
                    continue
                elif opcode == TEXT:
                    self._listener.receive_packet(payload)
                elif opcode == BINARY:
                    self._listener.receive_packet(BINARY_MARK)
                else:
                    self._listener.receive_control(is_pong=opcode == PONG)
                    if opcode == PING:
                        self.write([b"%c%c%b" % (_PONG_FRAME, len(payload), payload)])
        except FrameError as error:
            self.close(error.code)
            self._end()
        if self._is_lost and not self._paused:
            self._end()

    # Writing, and the end

    def write(self, frames: Sequence[bytes]) -> int:
        """Send whole frames; all are taken. Nothing happens once the connection ends."""
        if frames and not self._closing and not self._transport.is_closing():
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return len(frames)

    def close(self, code: int) -> None:
        """Send a close frame; the connection is gone within CLOSE_GRACE.

        The peer answers with its own close frame, which ends the connection; messages
        that come until then are dropped.
        """
        self.write([_close_frame(code)])
        self._closing = True
        self._expire()

    def end(self, frames: Sequence[bytes], code: int, *, is_final: bool) -> None:
        """Send these last frames and close; the code alone says whether it `is_final`."""
        self.write(frames)
        self.close(code)

    def leave(self) -> None:
        """Nothing takes over from a websocket."""

    def abort(self) -> None:
        """Drop the connection and what was not sent, now."""
        self._closing = True
        self._transport.abort()

    def _expire(self) -> None:
        """Drop the connection in CLOSE_GRACE, whatever the peer does."""
        if self._timer is None and not self._is_lost:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CLOSE_GRACE, self._transport.abort)

    def _end(self) -> None:
        """Read nothing more, and tell the listener."""
        listener, self._listener, self._reader = self._listener, None, None
        if listener is not None:
            listener.websocket_lost()
