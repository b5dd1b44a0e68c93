"""The websocket under Engine.IO: aiohttp reads it, frames are written straight to TCP.

A server's frames are not masked, so one frame is the same bytes for every receiver:
it is built once and written as it is, several of them in one call. Nothing here
awaits a write; whoever writes looks at `buffered` and decides when it is too much.
"""

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from aiohttp import WSMsgType, web

from chatserver.eio.frames import FrameCutter

# What `receive` answers for a binary frame: the mark of a binary packet in a polling
# body, so that both transports refuse binary in the same place.
BINARY_MARK: Final = b"b"

MAX_IDLE_PACKETS: Final = 200
"""The most packets, and the most frames, of one client from one of our pings to the next
that ask for nothing (pongs, acks of nothing): no budget pays for them. Honest ones are few."""

# What `receive` answers for a pong frame where the caller counts them: no text is this.
PONG_MARK: Final = b"\x8a"

# How long a peer may take to answer our close frame, in seconds.
CLOSE_GRACE: Final = 1.0

_TEXT: Final = 0x81
_CLOSE: Final = 0x88


def text_frame(payload: bytes) -> bytes:
    """The bytes on the wire of one text message."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (_TEXT, size, payload)
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def frame_payload(frame: bytes) -> bytes:
    """The message inside a `text_frame`, for a transport that is no websocket."""
    size = frame[1]
    return frame[2 if size < 126 else 4 if size == 126 else 10 :]


def _close_frame(code: int) -> bytes:
    return struct.pack("!BBH", _CLOSE, 2, code)


class _CuttingResponse(web.WebSocketResponse):
    """A websocket whose messages over the limit are cut before aiohttp reads them."""

    def _post_start(self, request: web.BaseRequest, *args: Any) -> None:
        connection: Any = request.protocol
        # What came with the handshake has to take the same way, so aiohttp must not
        # feed it to its reader by itself.
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, *args)
        assert self._parser is not None
        cutter = FrameCutter(self._parser, self._max_msg_size - 1)
        connection._payload_parser = cutter
        if early:
            cutter.feed_data(early)


class WebSocket:
    """One accepted websocket, without compression.

    Pings are answered inside. Pongs are told of only where `counts_pongs`. After more than
    MAX_IDLE_PACKETS of both the connection ends, unless `idle_frames` is set to 0 meanwhile.

    `receive` belongs to one task, the request's handler. `write`, `close` and
    `abort` are synchronous, may be called from anywhere in the loop and never raise
    because the peer has gone.
    """

    __slots__ = ("_closing", "_counts_pongs", "_response", "_transport", "idle_frames")

    def __init__(
        self,
        response: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        counts_pongs: bool,
    ) -> None:
        self._response = response
        self._counts_pongs = counts_pongs
        self._transport = transport
        self._closing = False
        self.idle_frames = 0

    @classmethod
    async def accept(
        cls,
        request: web.Request,
        max_message_bytes: int,
        *,
        counts_pongs: bool = False,
        cuts_messages: bool = False,
    ) -> "WebSocket":
        """Answer the handshake.

        With `cuts_messages` a message over the limit is received as OVERSIZE_MARK and its
        head (see `FrameCutter`), without it is the end of the connection.
        Raises HTTPBadRequest or ValueError for a bad one, and ConnectionResetError.
        """
        make = _CuttingResponse if cuts_messages else web.WebSocketResponse
        response = make(
            timeout=CLOSE_GRACE,
            autoclose=False,
            autoping=False,  # aiohttp's raises when the client has gone
            compress=False,
            # The reader refuses a message of exactly the limit, too.
            max_msg_size=max_message_bytes + 1,
            decode_text=False,
        )
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        return cls(response, transport, counts_pongs=counts_pongs)

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request's handler has to return."""
        return self._response

    @property
    def buffered(self) -> int:
        """Bytes written that the operating system has not taken yet."""
        return self._transport.get_write_buffer_size()

    async def receive(self) -> bytes | None:
        """The next text message, BINARY_MARK for a binary one, PONG_MARK for a pong, None
        at the end.

        A message over the limit or a broken frame is the end: aiohttp has then sent the
        close code that fits.
        """
        while True:
            message = await self._response.receive()
            if message.type is WSMsgType.TEXT:
                data: bytes = message.data
                return data
            if message.type in (WSMsgType.PING, WSMsgType.PONG):
                self.idle_frames += 1
                if self.idle_frames > MAX_IDLE_PACKETS:
                    self._transport.abort()
                    return None
            if message.type is WSMsgType.PING:
                # Waits for a client that sends pings and does not take the answers. What
                # one that has gone said after its ping is received all the same.
                with suppress(ConnectionError):
                    await self._response.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                break
            elif self._counts_pongs:
                return PONG_MARK
        if message.type is WSMsgType.BINARY:
            return BINARY_MARK
        if message.type is WSMsgType.CLOSE:
            self.close(1000)
        self._transport.close()
        return None

    async def finish(self, code: int) -> None:
        """Close, and wait until the connection is gone: at most CLOSE_GRACE."""
        self.close(code)
        while await self.receive() is not None:
            pass

    def write(self, frames: Sequence[bytes]) -> None:
        if not self._transport.is_closing():
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def close(self, code: int) -> None:
        """Send a close frame; the connection is gone within CLOSE_GRACE.

        The peer answers with its own close frame, which ends `receive`; until then
        `receive` goes on returning messages, which the caller drops.
        """
        if self._closing:
            return
        self._closing = True
        self.write([_close_frame(code)])
        asyncio.get_running_loop().call_later(CLOSE_GRACE, self._transport.abort)

    def abort(self) -> None:
        """Drop the connection and what was not sent, now."""
        self._closing = True
        self._transport.abort()
