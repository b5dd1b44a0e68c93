"""What comes of websocket frames before aiohttp reads them: large messages lose all but a head."""

import random
import struct
from collections.abc import Iterator

import pytest

from chatserver.eio.frames import HEAD_BYTES, MAX_CUT_BYTES, OVERSIZE_MARK, FrameCutter

LIMIT = 1000
ENDLESS = "endless"
TEXT, BINARY, PING = 1, 2, 9

Message = tuple[int, bytes] | str


class Reader:
    """Reads frames, without fragments, as strictly as these tests need it."""

    def __init__(self) -> None:
        self.data = b""
        self.is_over = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        self.is_over = True

    def messages(self) -> Iterator[Message]:
        at, parts, opcode = 0, b"", 0
        while at < len(self.data):
            first, second = self.data[at], self.data[at + 1]
            size, at = second & 0x7F, at + 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(self.data[at : at + width]), at + width
            if size > MAX_CUT_BYTES:
                yield ENDLESS
                return
            mask, at = self.data[at : at + 4], at + 4
            payload = bytes(b ^ mask[n % 4] for n, b in enumerate(self.data[at : at + size]))
            at += size
            if first & 0xF >= 8:
                yield first & 0xF, payload
                continue
            opcode = first & 0xF or opcode
            parts += payload
            if first & 0x80:
                yield opcode, parts
                parts = b""


def frame(opcode: int, payload: bytes, *, last: bool = True, size: int | None = None) -> bytes:
    """A masked frame; `size` is what it says to be, if that is not its size."""
    size = len(payload) if size is None else size
    mask = random.randbytes(4)
    head = bytes((opcode | (0x80 if last else 0),))
    if size < 126:
        head += bytes((0x80 | size,))
    else:
        head += struct.pack("!BH", 0xFE, size) if size < 65536 else struct.pack("!BQ", 0xFF, size)
    return head + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(payload))


def read(data: bytes, chunk: int) -> list[Message]:
    """What a reader sees of it, when it arrives in pieces of `chunk` bytes."""
    reader = Reader()
    cutter = FrameCutter(reader, LIMIT)
    for at in range(0, len(data), chunk):
        cutter.feed_data(data[at : at + chunk])
    return list(reader.messages())


def in_fragments(opcode: int, payload: bytes, size: int) -> bytes:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(
        frame(0 if number else opcode, piece, last=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    )


each_chunk = pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 10**6])


@each_chunk
def test_what_is_within_the_limit_is_passed_on(chunk: int) -> None:
    sent = [(TEXT, random.randbytes(size)) for size in (0, 1, 125, 126, 999, LIMIT)]
    sent += [(PING, b"p"), (BINARY, b"b" * LIMIT)]
    assert read(b"".join(frame(*message) for message in sent), chunk) == sent


@each_chunk
def test_a_text_over_the_limit_becomes_its_head_in_its_place(chunk: int) -> None:
    large = b'4217["message",' + random.randbytes(5 * LIMIT)
    data = frame(TEXT, b"before") + frame(TEXT, large) + frame(TEXT, b"after")
    assert read(data, chunk) == [
        (TEXT, b"before"), (TEXT, OVERSIZE_MARK + large[:HEAD_BYTES]), (TEXT, b"after"),
    ]  # fmt: skip


@each_chunk
def test_a_binary_message_over_the_limit_becomes_an_empty_one(chunk: int) -> None:
    assert read(frame(BINARY, b"x" * 70_000) + frame(PING, b""), chunk) == [
        (BINARY, b""), (PING, b""),
    ]  # fmt: skip


@each_chunk
@pytest.mark.parametrize("size", [1, 10, 400])
def test_fragments_are_one_message_also_for_the_limit(chunk: int, size: int) -> None:
    """Chromium sends large messages in fragments."""
    small, large = random.randbytes(300), random.randbytes(LIMIT + 1)
    data = in_fragments(TEXT, small, max(size, 10)) + in_fragments(TEXT, large, size * 10)
    assert read(data + frame(TEXT, b"after"), chunk) == [
        (TEXT, small), (TEXT, OVERSIZE_MARK + large[:HEAD_BYTES]), (TEXT, b"after"),
    ]  # fmt: skip


def test_a_ping_may_come_between_fragments() -> None:
    data = frame(TEXT, b"one ", last=False) + frame(PING, b"p") + frame(0, b"two")
    assert read(data, 5) == [(PING, b"p"), (TEXT, b"one two")]


def test_nothing_of_a_large_message_is_held_but_its_head() -> None:
    reader = Reader()
    cutter = FrameCutter(reader, LIMIT)
    data = frame(TEXT, b"x" * 100_000)[:-1]
    for at in range(0, len(data), 500):
        cutter.feed_data(data[at : at + 500])
        held = len(cutter._tail) + len(cutter._head) + len(cutter._held or b"")
        assert held + len(reader.data) <= HEAD_BYTES + 14


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"", size=MAX_CUT_BYTES + 1),
        frame(TEXT, b"", last=False, size=MAX_CUT_BYTES) + b"x" * MAX_CUT_BYTES + frame(0, b"x"),
        b"".join(frame(0 if n else TEXT, b"", last=False) for n in range(LIMIT)),
    ],
    ids=["one frame", "fragments", "empty fragments"],
)
def test_what_is_far_too_large_ends_the_connection(data: bytes) -> None:
    assert ENDLESS in read(data, 100_000)


@pytest.mark.parametrize(
    "data",
    [
        frame(0, b"a continuation of nothing"),
        frame(TEXT, b"half", last=False) + frame(TEXT, b"another"),
        frame(3, b"an unknown kind"),
        frame(0x41, b"a reserved bit"),
    ],
    ids=["continuation", "new message", "unknown kind", "reserved bit"],
)
def test_what_is_against_the_protocol_is_left_to_the_reader(data: bytes) -> None:
    reader = Reader()
    FrameCutter(reader, LIMIT).feed_data(data)
    assert reader.data == data


def test_the_end_of_the_connection_is_passed_on() -> None:
    reader = Reader()
    FrameCutter(reader, LIMIT).feed_eof()
    assert reader.is_over
