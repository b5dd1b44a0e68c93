"""The bodies of polling requests, as the packets in them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from aiohttp import hdrs, web

from chatserver.eio.frames import HEAD_BYTES, MAX_CUT_BYTES, OVERSIZE_MARK
from chatserver.eio.protocol import MAX_POST_PACKETS, SEPARATOR
from chatserver.eio.websocket import BINARY_MARK

_CHUNK: Final = 65536


class BadBody(Exception):
    """The protocol does not allow the body, or it did not arrive in time."""

    def __init__(self, *, is_too_large: bool = False) -> None:
        self.is_too_large = is_too_large
        super().__init__()


async def read_packets(
    request: web.Request, max_bytes: int, seconds: float
) -> AsyncGenerator[bytes, None]:
    """The packets of a body for which no longer than `seconds` is waited in all.

    A packet over `max_bytes` is cut down to OVERSIZE_MARK and its head. Raises BadBody,
    for a body of up to `max_bytes` before its first packet. No more than `max_bytes` and
    a chunk are held.
    """
    length = request.content_length
    if length is None or length <= 0 or hdrs.CONTENT_ENCODING in request.headers:
        raise BadBody  # a small body could unpack to a large one
    if length > MAX_CUT_BYTES:
        raise BadBody(is_too_large=True)
    reader = _Reader(request, seconds)
    if length <= max_bytes:
        for packet in _split(await reader.read(length)):
            yield packet
        return
    packets = _Packets(max_bytes)
    while length:
        chunk = await reader.read(min(length, _CHUNK))
        length -= len(chunk)
        for packet in packets.feed(chunk):
            yield packet
    yield packets.end()


def _split(body: bytes) -> list[bytes]:
    packets = body.split(SEPARATOR)
    if len(packets) > MAX_POST_PACKETS:
        raise BadBody
    _check_text(body)
    return packets


def _check_text(packet: bytes) -> None:
    try:
        packet.decode()
    except UnicodeDecodeError:
        raise BadBody from None


class _Reader:
    """Reads a body, as long as its time lasts; what is done between two reads costs none."""

    def __init__(self, request: web.Request, seconds: float) -> None:
        self._content = request.content
        self._left = seconds

    async def read(self, size: int) -> bytes:
        clock = asyncio.get_running_loop()
        began_at = clock.time()
        try:
            async with asyncio.timeout(self._left):
                return await self._content.readexactly(size)
        except (OSError, EOFError, web.RequestPayloadError):
            raise BadBody from None  # too slow, or cut off
        finally:
            self._left -= clock.time() - began_at


class _Packets:
    """Puts the packets of a large body together, each up to `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        self._held = bytearray()
        self._is_cut = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The packets that end in this chunk."""
        *ends, rest = chunk.split(SEPARATOR)
        for end in ends:
            self._hold(end)
            yield self.end()
        self._hold(rest)

    def _hold(self, part: bytes) -> None:
        if self._is_cut:
            return
        self._held += part
        if len(self._held) > self._max_bytes:
            self._is_cut = True
            del self._held[HEAD_BYTES:]

    def end(self) -> bytes:
        """The packet that is held, which is over."""
        packet, is_cut = bytes(self._held), self._is_cut
        self._held.clear()
        self._is_cut = False
        self._count += 1
        if self._count > MAX_POST_PACKETS:
            raise BadBody
        if is_cut:
            return BINARY_MARK if packet.startswith(BINARY_MARK) else OVERSIZE_MARK + packet
        _check_text(packet)
        return packet
