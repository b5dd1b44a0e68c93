"""A client's websocket frames, read without a socket: messages, limits, and what ends them."""

import random
import struct

import pytest

from chatserver.eio.frames import (
    BINARY,
    CLOSE,
    HEAD_BYTES,
    MAX_CUT_BYTES,
    OVERSIZE_MARK,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameError,
    FrameReader,
)

LIMIT = 1000
BIT_63 = 2**63


def frame(
    opcode: int, payload: bytes = b"", *, last: bool = True, size: int | None = None
) -> bytes:
    """A masked frame; `size` is what it says to be, if that is not its size."""
    size = len(payload) if size is None else size
    mask = random.randbytes(4)
    head = bytes((opcode | (0x80 if last else 0),))
    if size < 126:
        head += bytes((0x80 | size,))
    else:
        head += struct.pack("!BH", 0xFE, size) if size < 65536 else struct.pack("!BQ", 0xFF, size)
    return head + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(payload))


def read(data: bytes, chunk: int = 10**6, *, cuts: bool = True) -> list[Frame | int]:
    """What is read of it when it comes in pieces of `chunk` bytes; at last the close code."""
    reader = FrameReader(LIMIT, cuts_messages=cuts)
    found: list[Frame | int] = []
    for at in range(0, len(data), chunk):
        reader.feed(data[at : at + chunk])
        try:
            while (each := reader.read()) is not None:
                found.append(each)
        except FrameError as error:
            return [*found, error.code]
    return found


def in_fragments(opcode: int, payload: bytes, size: int) -> bytes:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(
        frame(0 if number else opcode, piece, last=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    )


each_chunk = pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 10**6])


@each_chunk
def test_what_is_within_the_limit_is_read_as_it_was_sent(chunk: int) -> None:
    sent = [(TEXT, random.randbytes(size)) for size in (0, 1, 125, 126, 999, LIMIT)]
    sent += [(PING, b"p" * 125), (BINARY, b"b" * LIMIT), (PONG, b""), (TEXT, b"\xff no UTF-8")]
    sent += [(CLOSE, b""), (CLOSE, b"\x03\xe8" + "bye é".encode())]
    assert read(b"".join(frame(*message) for message in sent), chunk) == sent


@each_chunk
def test_a_text_over_the_limit_becomes_its_head_in_its_place(chunk: int) -> None:
    large = b'4217["message",' + random.randbytes(70 * LIMIT)
    data = frame(TEXT, b"before") + frame(TEXT, large) + frame(TEXT, b"after")
    assert read(data, chunk) == [
        (TEXT, b"before"), (TEXT, OVERSIZE_MARK + large[:HEAD_BYTES]), (TEXT, b"after"),
    ]  # fmt: skip


@each_chunk
def test_a_binary_message_over_the_limit_becomes_an_empty_one(chunk: int) -> None:
    assert read(frame(BINARY, b"x" * 70_000) + frame(PING), chunk) == [(BINARY, b""), (PING, b"")]


@each_chunk
@pytest.mark.parametrize("size", [1, 10, 400])
def test_fragments_are_one_message_also_for_the_limit(chunk: int, size: int) -> None:
    """Chromium sends large messages in fragments."""
    small, large = random.randbytes(300), random.randbytes(LIMIT + 1)
    data = in_fragments(TEXT, small, max(size, 10)) + in_fragments(TEXT, large, size * 10)
    assert read(data + frame(TEXT, b"after"), chunk) == [
        (TEXT, small), (TEXT, OVERSIZE_MARK + large[:HEAD_BYTES]), (TEXT, b"after"),
    ]  # fmt: skip


@each_chunk
def test_control_frames_come_between_the_fragments_of_a_message(chunk: int) -> None:
    large = frame(TEXT, b"x" * LIMIT, last=False)
    assert read(
        frame(TEXT, b"one ", last=False)
        + frame(PING, b"p")
        + frame(0, b"two", last=False)
        + frame(PONG)
        + frame(0)
        + (large + frame(PING, b"q") + frame(0, b"x" * LIMIT, last=False) + frame(PONG) + frame(0)),
        chunk,
    ) == [
        (PING, b"p"), (PONG, b""), (TEXT, b"one two"),
        (PING, b"q"), (PONG, b""), (TEXT, OVERSIZE_MARK + b"x" * HEAD_BYTES),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x" * (LIMIT + 1)),
        frame(BINARY, b"", size=LIMIT + 1),
        frame(TEXT, b"x" * LIMIT, last=False) + frame(0, b"x"),
    ],
    ids=["text", "before its payload has come", "fragments"],
)
def test_a_message_over_the_limit_is_an_error_where_none_is_cut(data: bytes) -> None:
    assert read(data, cuts=False) == [1009]


def test_nothing_of_a_large_message_is_held_but_its_head() -> None:
    reader = FrameReader(LIMIT, cuts_messages=True)
    data = frame(TEXT, b"x" * 100_000)[:-1]
    for at in range(0, len(data), 500):
        reader.feed(data[at : at + 500])
        assert reader.read() is None
        assert reader.held_bytes <= HEAD_BYTES + 14
    assert read(data) == []


def test_what_comes_byte_by_byte_is_looked_at_when_it_is_whole() -> None:
    """Else a message in small pieces would cost the square of its size."""
    reader = FrameReader(10**6, cuts_messages=False)
    data = frame(TEXT, b"x" * 10**6)
    looks = 0
    for at in range(0, len(data), 100):
        reader.feed(data[at : at + 100])
        held = reader._data
        assert reader.read() is None or at + 100 >= len(data)
        looks += reader._data is not held
    assert looks <= 2


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"", size=MAX_CUT_BYTES + 1),
        frame(TEXT, b"", size=BIT_63),
        frame(TEXT, b"", last=False, size=MAX_CUT_BYTES) + b"x" * MAX_CUT_BYTES + frame(0, b"x"),
        b"".join(frame(0 if n else TEXT, b"", last=False) for n in range(LIMIT)),
    ],
    ids=["one frame", "no length", "fragments", "empty fragments"],
)
@pytest.mark.parametrize("cuts", [True, False])
def test_what_is_far_too_large_is_an_error(data: bytes, cuts: bool) -> None:
    assert read(data, 100_000, cuts=cuts) == [1009]


WRONG = {
    "unmasked": (b"\x81\x02hi", 1002),
    "unmasked, empty": (b"\x81\x00", 1002),
    "unmasked control": (b"\x89\x00", 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "a message in a message": (frame(TEXT, b"x", last=False) + frame(TEXT, b"y"), 1002),
    "a fragment begins in a message": (
        frame(TEXT, b"x", last=False) + frame(BINARY, b"y", last=False), 1002,
    ),
    **{f"opcode {number}": (frame(number), 1002) for number in (3, 7, 11, 15)},
    **{f"reserved bit {bit:#x}": (frame(TEXT | bit), 1002) for bit in (0x40, 0x20, 0x10)},
    "reserved bit of a control frame": (frame(PING | 0x40), 1002),
    "control frame of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "control frame that says 70,000 bytes": (frame(PONG, b"", size=70_000), 1002),
    "control frame in fragments": (frame(PING, b"x", last=False), 1002),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    **{
        f"close code {code}": (frame(CLOSE, struct.pack("!H", code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
    },
    "close reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 10**6])
@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG)
def test_what_is_against_the_protocol_is_an_error(data: bytes, code: int, chunk: int) -> None:
    assert read(frame(TEXT, b"before") + data, chunk) == [(TEXT, b"before"), code]


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_other_close_codes_are_taken(code: int) -> None:
    payload = struct.pack("!H", code)
    assert read(frame(CLOSE, payload)) == [(CLOSE, payload)]
