"""The sync cursor as text: compact, and whatever else is sent is refused."""

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.errors import InvalidPayload
from chatserver.models import Position
from chatserver.repositories.sync import MAX_PENDING, Mark, Snapshot
from chatserver.schemas.sync import MAX_CURSOR
from chatserver.services.sync_cursors import Cursor, cursor_scope, decode_cursor, encode_cursor

SCOPE = b"12345678"
USER = UUID(int=1)
LATE = Position(datetime(2026, 1, 31, 12, 0, 0, 123456, UTC), UUID(int=2**128 - 1))


def snapshot(database: str = "1/1/1/1", xmax: int = 1000) -> Snapshot:
    return Snapshot(database, False, xmax, ())


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    newest = draw(st.integers(0, 2**63 - 1))
    pending = draw(st.sets(st.integers(0, newest - 1), max_size=MAX_PENDING)) if newest else ()
    return Mark(newest, tuple(sorted(pending)))


positions = st.builds(
    Position,
    st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),
    st.uuids(),
)
cursors = st.one_of(
    st.builds(Cursor, st.just(SCOPE), marks()),
    st.builds(Cursor, st.just(SCOPE), st.none() | marks(), positions, marks()),
)


@given(cursors)
def test_a_cursor_survives_as_text(cursor: Cursor) -> None:
    text = encode_cursor(cursor)
    assert decode_cursor(text) == cursor
    assert len(text) <= MAX_CURSOR


def test_an_ordinary_cursor_is_short() -> None:
    assert len(encode_cursor(Cursor(SCOPE, Mark(12_345_678)))) <= 20
    walking = Cursor(SCOPE, Mark(12_345_678, (12_345_000,)), LATE, Mark(12_345_699))
    assert len(encode_cursor(walking)) <= 80


@given(st.text())
def test_any_other_text_is_invalid(text: str) -> None:
    with pytest.raises(InvalidPayload):
        decode_cursor(text)


@given(st.binary(max_size=60))
def test_any_other_bytes_are_invalid_or_a_cursor(data: bytes) -> None:
    text = base64.urlsafe_b64encode(b"\x01" + data).rstrip(b"=").decode()
    try:
        cursor = decode_cursor(text)
    except InvalidPayload:
        return
    assert encode_cursor(cursor) == text


def raw(*numbers: int, kind: int = 0, version: int = 1) -> str:
    data = bytes((version, kind)) + SCOPE + bytes(numbers)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        raw(5, 0)[:-1],
        raw(5, 0) + "=",
        raw(5, 0) + "AA",
        raw(5, 0, version=2),
        raw(5, 0, kind=3),
        raw(5),
        raw(5, 1, 5),
        raw(5, 2, 1),
        raw(0x85, 0x00, 0),
        raw(200, 1, 101, *[1] * 101),
        raw(*[0xFF] * 9, 1, 0),
        raw(*[0xFF] * 8, 0x7F, *[1] * 16, 5, 0, kind=2),
    ],
    ids=[
        "empty",
        "cut",
        "padded",
        "followed by more",
        "another version",
        "another kind",
        "without its end",
        "pending is the newest",
        "fewer pending than said",
        "a number in more bytes than it takes",
        "too many pending",
        "too large a number",
        "a time after all times",
    ],
)
def test_what_no_server_ever_gave_out_is_invalid(text: str) -> None:
    assert decode_cursor(raw(5, 1, 4)) == Cursor(SCOPE, Mark(5, (4,)))
    with pytest.raises(InvalidPayload):
        decode_cursor(text)


def test_a_cursor_belongs_to_its_database_and_user_until_its_time_comes() -> None:
    scope = cursor_scope(snapshot(), USER)
    cursor = Cursor(scope, Mark(999))
    assert cursor.belongs_to(scope, snapshot())
    assert not cursor.belongs_to(scope, snapshot(xmax=999))
    assert not cursor.belongs_to(cursor_scope(snapshot("2/1/1/1"), USER), snapshot())
    assert not cursor.belongs_to(cursor_scope(snapshot(), UUID(int=2)), snapshot())
    walking = Cursor(scope, None, LATE, Mark(999))
    assert walking.belongs_to(scope, snapshot())
    assert not walking.belongs_to(scope, snapshot(xmax=999))


def test_a_mark_has_a_limited_size() -> None:
    many = Snapshot("", False, 1000, tuple(range(100, 100 + MAX_PENDING + 1)))
    assert Mark.of(100 + MAX_PENDING, many) == Mark(100 + MAX_PENDING, many.in_progress[:-1])
    assert Mark.of(500, many) == Mark(99)
    assert Mark.of(50, many) == Mark(50)
