"""Websocket frames on their way in: a message over the limit is cut down to its head.

aiohttp's reader ends the connection over a message that is too large. This stands before
it, so that such a message can be answered: its first bytes go on, which tell what it was,
and the rest is dropped as it comes. Nothing of it is held but the head.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

# What a text message that is too large is cut down to: this mark, with which no packet
# begins, and its first bytes, in which the id of an event is.
OVERSIZE_MARK: Final = b"\0"
HEAD_BYTES: Final = 64

MAX_CUT_BYTES: Final = 8 * 1024 * 1024
"""What is larger than this ends the connection: it is not even read to be dropped."""

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_TEXT: Final = 1
_BINARY: Final = 2
_CONTROL: Final = 8
# The header of a frame that no reader takes: it ends the connection with 1009.
_ENDLESS: Final = b"\x82\x7f\x3f" + bytes(7)


class Reader(Protocol):
    """What of aiohttp's websocket reader is used."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class _Header(NamedTuple):
    """A frame's header as it came, in `raw`; `mask` is empty where there is none."""

    raw: bytes
    is_last: bool
    opcode: int
    is_odd: bool
    length: int
    mask: bytes


class FrameCutter:
    """Passes frames on to `reader`, which takes messages of `max_bytes`.

    A text message over that becomes one of OVERSIZE_MARK and its first HEAD_BYTES, a
    binary one an empty one; over MAX_CUT_BYTES it ends the connection, with 1009. A
    message in fragments is held back until it is whole or cut.
    """

    __slots__ = (
        "_head",
        "_header",
        "_held",
        "_left",
        "_max_bytes",
        "_opcode",
        "_reader",
        "_size",
        "_tail",
    )

    def __init__(self, reader: Reader, max_bytes: int) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self._tail = b""
        self._left = 0  # of the payload of the frame that is coming
        self._header: _Header | None = None  # that of a frame that is held or cut
        self._held: bytearray | None = None  # the frames of a message in fragments
        self._opcode = 0  # of the message that is held or cut; 0 where there is none
        self._size = 0
        self._head = bytearray()

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """As aiohttp's reader: whether the connection is over, and what is left."""
        if not (self._tail or self._left or self._opcode) and self._is_one_frame(data):
            return self._reader.feed_data(data)
        return self._reader.feed_data(b"".join(self._filter(data)))

    def _is_one_frame(self, data: bytes) -> bool:
        """Whether it is one whole, short frame: what nearly everything is."""
        size = len(data)
        if size < 6 or data[0] < _FIN or data[1] < _FIN:
            return False
        length = data[1] - _FIN
        if length < 126:
            return size == length + 6
        return length == 126 and size == (data[2] << 8 | data[3]) + 8 <= self._max_bytes

    def _filter(self, data: bytes) -> Iterator[bytes]:
        """What the reader shall see of it."""
        data, self._tail, at = self._tail + data, b"", 0
        while at < len(data):
            if not self._left:
                header = _parse_header(data, at)
                if header is None:
                    self._tail = data[at:]
                    return
                at += len(header.raw)
                yield self._begin(header)
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield self._take(piece)

    def _begin(self, header: _Header) -> bytes:
        self._left, self._header = header.length, None
        if header.is_odd or header.opcode >= _CONTROL or (header.opcode == 0) != bool(self._opcode):
            # Not a part of a message, or out of order, which the reader judges.
            out_of_order = header.opcode < _CONTROL and self._opcode
            return (bytes(self._held or b"") if out_of_order else b"") + header.raw
        if header.opcode and header.is_last and header.length <= self._max_bytes:
            return header.raw
        if header.opcode:
            self._opcode, self._size, self._held = header.opcode, 0, bytearray()
            self._head.clear()
        self._size += header.length
        self._header = header
        if self._size > self._max_bytes:
            self._held = None
        elif self._held is not None:
            self._held += header.raw
        if self._size > MAX_CUT_BYTES or len(self._held or b"") > 2 * self._max_bytes:
            return _ENDLESS
        return b""

    def _take(self, piece: bytes) -> bytes:
        header = self._header
        if header is None:
            return piece
        if len(self._head) < HEAD_BYTES:
            done = header.length - self._left - len(piece)
            self._head += _unmask(piece[: HEAD_BYTES - len(self._head)], header.mask, done)
        if self._held is not None:
            self._held += piece
        if self._left or not header.is_last:
            return b""
        message = self._cut() if self._held is None else bytes(self._held)
        self._opcode, self._held, self._header = 0, None, None
        return message

    def _cut(self) -> bytes:
        head = OVERSIZE_MARK + bytes(self._head) if self._opcode == _TEXT else b""
        return bytes((_FIN | self._opcode, _FIN | len(head), 0, 0, 0, 0)) + head


def _parse_header(data: bytes, at: int) -> _Header | None:
    """The header at that place; None where it is not all there."""
    if len(data) - at < 2:
        return None
    first, second = data[at], data[at + 1]
    flag = second & 0x7F
    size = 2 if flag < 126 else 4 if flag == 126 else 10
    length = flag if flag < 126 else int.from_bytes(data[at + 2 : at + size])
    end = at + size + (4 if second & _FIN else 0)
    if len(data) < end:
        return None
    opcode = first & 0xF
    is_odd = bool(first & _RESERVED) or _BINARY < opcode < _CONTROL
    return _Header(data[at:end], bool(first & _FIN), opcode, is_odd, length, data[at + size : end])


def _unmask(piece: bytes, mask: bytes, done: int) -> bytes:
    """The payload of `piece`, which begins `done` bytes into its frame."""
    if not mask:
        return piece
    return bytes(byte ^ mask[(done + number) % 4] for number, byte in enumerate(piece))
