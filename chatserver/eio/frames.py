"""Websocket frames (RFC 6455): a client's are read, without a socket and without a clock.

A message over the limit can be cut down to its head: its first bytes, which tell what it
was, are kept, and the rest is dropped as it comes. So it can be answered, and nothing of it
is held.
"""

from typing import Final

from aiohttp._websocket.helpers import websocket_mask

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

# What a text message that is too large is cut down to: this mark, with which no packet
# begins, and its first bytes, in which the id of an event is.
OVERSIZE_MARK: Final = b"\0"
HEAD_BYTES: Final = 64

MAX_CUT_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of a message that is read to be dropped; a larger one ends the connection."""

PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
MESSAGE_TOO_BIG: Final = 1009

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_OPCODES: Final = frozenset({0, TEXT, BINARY, CLOSE, PING, PONG})
_WHOLE_TEXT: Final = _FIN | TEXT
_MAX_CONTROL_BYTES: Final = 125
# Of a header with a mask and a short length, and of what tells how long a header is.
_SHORT_HEADER: Final = 6
_FIRST_BYTES: Final = 2

Frame = tuple[int, bytes]
"""The opcode and the payload of a whole message or of a control frame."""


class FrameError(Exception):
    """The client broke the protocol: the connection has to end with the close code `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Message:
    """A message of which not everything has come: `kept` is its payload, or its head."""

    __slots__ = ("is_cut", "kept", "opcode", "size", "wire_bytes")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.size = 0
        self.wire_bytes = 0
        self.is_cut = False
        self.kept = bytearray()

    def cut(self) -> None:
        self.is_cut = True
        del self.kept[HEAD_BYTES:]

    def whole(self) -> Frame:
        if not self.is_cut:
            return self.opcode, bytes(self.kept)
        return self.opcode, OVERSIZE_MARK + self.kept if self.opcode == TEXT else b""


class _Dropped:
    """The rest of a frame of a message that is cut: `left` of its `length` bytes are to come."""

    __slots__ = ("is_last", "left", "length", "mask")

    def __init__(self, mask: bytes, length: int, *, is_last: bool) -> None:
        self.mask = mask
        self.length = self.left = length
        self.is_last = is_last


class FrameReader:
    """Reads what one client sends: messages of up to `max_bytes`, and control frames.

    A message over `max_bytes` is an error (1009). With `cuts_messages` a text message over
    it becomes OVERSIZE_MARK and its first HEAD_BYTES, and a binary one an empty one; an
    error is then one over MAX_CUT_BYTES. Fragments count as the one message that they are.
    """

    __slots__ = ("_at", "_cuts_messages", "_data", "_dropped", "_due", "_max_bytes", "_message")

    def __init__(self, max_bytes: int, *, cuts_messages: bool) -> None:
        self._max_bytes = max_bytes
        self._cuts_messages = cuts_messages
        self._data: bytes | bytearray = b""
        self._at = 0
        self._due = _FIRST_BYTES  # so many bytes must be there for anything to be read
        self._message: _Message | None = None
        self._dropped: _Dropped | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept of what has not been read."""
        return len(self._data) - self._at + (len(self._message.kept) if self._message else 0)

    def feed(self, data: bytes) -> None:
        """Take what has come; `read` gives what is in it."""
        if not self._data:
            self._data = data
            return
        if self._at or not isinstance(self._data, bytearray):
            self._data, self._at = bytearray(self._data[self._at :]), 0
        self._data += data

    def read(self) -> Frame | None:
        """The next message or control frame, None where it has not come as a whole.

        Raises FrameError; after that nothing can be read any more.
        """
        while len(self._data) - self._at >= self._due:
            frame = self._read_frame() if self._dropped is None else self._drop(self._dropped)
            if frame is not None:
                return frame
        if self._at:
            left = self._data[self._at :]
            self._data, self._at = bytearray(left) if left else b"", 0
        return None

    def _read_frame(self) -> Frame | None:
        """Read a frame; None for a part of a message, or where `_due` was too little."""
        data, at = self._data, self._at
        first, second = data[at], data[at + 1]
        length, start = second & 0x7F, at + _SHORT_HEADER
        if length > _MAX_CONTROL_BYTES:
            start += 2 if length == 126 else 8
            if len(data) < start:
                self._due = start - at
                return None
            length = int.from_bytes(data[at + 2 : start - 4])
        if first == _WHOLE_TEXT and second >= _MASKED and length <= self._max_bytes:
            if self._message is not None:
                raise FrameError(PROTOCOL_ERROR)
        elif self._is_too_large(first, second, length):
            if len(data) < start:
                self._due = start - at
                return None
            return self._begin_drop(first, length, start)
        end = start + length
        if len(data) < end:
            self._due = end - at
            return None
        self._at, self._due = end, _FIRST_BYTES
        payload = _unmask(data[start:end], data[start - 4 : start])
        return (TEXT, payload) if first == _WHOLE_TEXT else self._take(first, payload, end - at)

    def _is_too_large(self, first: int, second: int, length: int) -> bool:
        """Return whether the frame's message is dropped. Raises FrameError for a bad one."""
        opcode = first & 0xF
        if second < _MASKED or first & _RESERVED or opcode not in _OPCODES:
            raise FrameError(PROTOCOL_ERROR)
        if opcode >= CLOSE:
            if first < _FIN or length > _MAX_CONTROL_BYTES:
                raise FrameError(PROTOCOL_ERROR)
            return False
        if (opcode == 0) is (self._message is None):
            raise FrameError(PROTOCOL_ERROR)
        size = length if self._message is None else self._message.size + length
        if size > (MAX_CUT_BYTES if self._cuts_messages else self._max_bytes):
            raise FrameError(MESSAGE_TOO_BIG)
        return size > self._max_bytes

    def _take(self, first: int, payload: bytes, wire_bytes: int) -> Frame | None:
        """Take a whole frame which is not all that nearly all are: a short text message."""
        opcode, is_last = first & 0xF, first >= _FIN
        if opcode == CLOSE:
            _check_close(payload)
        if is_last and opcode:
            return opcode, payload
        message = self._count(opcode, len(payload), wire_bytes)
        message.kept += payload
        return self._end_message(message) if is_last else None

    def _count(self, opcode: int, size: int, wire_bytes: int) -> _Message:
        """Count a frame of a message in fragments, or of one that is cut."""
        if self._message is None:
            self._message = _Message(opcode)
        message = self._message
        message.size += size
        message.wire_bytes += wire_bytes
        # Fragments may be empty, and without end.
        if message.wire_bytes > 2 * (MAX_CUT_BYTES if message.is_cut else self._max_bytes):
            raise FrameError(MESSAGE_TOO_BIG)
        return message

    def _end_message(self, message: _Message) -> Frame:
        self._message = None
        return message.whole()

    def _begin_drop(self, first: int, length: int, start: int) -> Frame | None:
        if self._message is None:
            self._message = _Message(first & 0xF)
        self._message.cut()
        self._count(0, length, start - self._at + length)
        mask = bytes(self._data[start - 4 : start])
        self._at, self._due = start, 1
        self._dropped = _Dropped(mask, length, is_last=first >= _FIN)
        return None if length else self._drop(self._dropped)

    def _drop(self, dropped: _Dropped) -> Frame | None:
        """Drop what has come of a frame, but for what belongs to the head of its message."""
        message = self._message
        assert message is not None
        at, size = self._at, min(dropped.left, len(self._data) - self._at)
        if (room := HEAD_BYTES - len(message.kept)) > 0:
            turn = (dropped.length - dropped.left) % 4
            mask = dropped.mask[turn:] + dropped.mask[:turn]
            message.kept += _unmask(self._data[at : at + min(room, size)], mask)
        self._at += size
        dropped.left -= size
        if dropped.left:
            return None
        self._dropped, self._due = None, _FIRST_BYTES
        return self._end_message(message) if dropped.is_last else None


def _unmask(payload: bytes | bytearray, mask: bytes | bytearray) -> bytes:
    unmasked = bytearray(payload)
    websocket_mask(bytes(mask), unmasked)
    return bytes(unmasked)


def _check_close(payload: bytes) -> None:
    """Raise FrameError for what is no close code and reason."""
    if not payload:
        return
    code = int.from_bytes(payload[:2]) if len(payload) > 1 else 0
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FrameError(PROTOCOL_ERROR)
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_TEXT) from None
