"""The sync cursor: how it is written, and whether it is from this database.

It is base64url of a version, eight bytes for the database and the user, and one or
two marks. It is not signed: it only selects among the caller's own conversations.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final
from uuid import UUID

from chatserver.errors import InvalidPayload
from chatserver.models import Position
from chatserver.repositories.sync import MAX_PENDING, Mark, Snapshot

_VERSION: Final = 1
_DONE, _FROM_MARK, _FROM_START = range(3)
_SCOPE_BYTES: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Progress of a client: all changes up to `since` (None: it holds nothing yet).

    Within a walk over several pages, `after` is where the last page ended, and
    `then` what the client holds when it has come to the end.
    """

    scope: bytes
    since: Mark | None
    after: Position | None = None
    then: Mark | None = None

    @property
    def is_walking(self) -> bool:
        return self.after is not None

    def belongs_to(self, scope: bytes, snapshot: Snapshot) -> bool:
        """Return whether it was given to this user by this database, and not in its future."""
        marks = [mark for mark in (self.since, self.then) if mark is not None]
        return self.scope == scope and all(mark.newest < snapshot.xmax for mark in marks)


def cursor_scope(snapshot: Snapshot, user_id: UUID) -> bytes:
    """Return the bytes that stand for the database and the user in a cursor."""
    return hashlib.blake2b(
        f"{snapshot.database}/{user_id}".encode(), digest_size=_SCOPE_BYTES
    ).digest()


def encode_cursor(cursor: Cursor) -> str:
    if cursor.after is None or cursor.then is None:
        assert cursor.since is not None
        kind, body = _DONE, _mark(cursor.since)
    else:
        kind = _FROM_START if cursor.since is None else _FROM_MARK
        since = b"" if cursor.since is None else _mark(cursor.since)
        body = _position(cursor.after) + _mark(cursor.then) + since
    data = bytes((_VERSION, kind)) + cursor.scope + body
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(text: str) -> Cursor:
    """The cursor that was encoded as `text`. Raises InvalidPayload for any other text."""
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        cursor = _read_cursor(iter(data))
    except (ValueError, OverflowError):
        raise _invalid() from None
    if encode_cursor(cursor) != text:
        raise _invalid()
    return cursor


def _invalid() -> InvalidPayload:
    return InvalidPayload(fields={"cursor": ["Not a cursor of sync."]})


def _read_cursor(source: Iterator[int]) -> Cursor:
    version, kind = _read_bytes(source, 2)
    scope = _read_bytes(source, _SCOPE_BYTES)
    if version != _VERSION or kind > _FROM_START:
        raise ValueError
    if kind == _DONE:
        return Cursor(scope, _read_mark(source))
    after, then = _read_position(source), _read_mark(source)
    since = _read_mark(source) if kind == _FROM_MARK else None
    return Cursor(scope, since, after, then)


def _mark(mark: Mark) -> bytes:
    """The newest number, how many are pending, and the steps from each to the next."""
    steps = [after - before for before, after in pairwise((0, *mark.pending))]
    return b"".join(map(_number, (mark.newest, len(steps), *steps)))


def _read_mark(source: Iterator[int]) -> Mark:
    newest, count = _read_number(source), _read_number(source)
    if count > MAX_PENDING:
        raise ValueError
    pending: list[int] = []
    for _ in range(count):
        pending.append(_read_number(source) + (pending[-1] if pending else 0))
    if pending and pending[-1] >= newest:
        raise ValueError
    return Mark(newest, tuple(pending))


def _position(position: Position) -> bytes:
    return _number((position.active_at - _EPOCH) // _MICROSECOND) + position.id.bytes


def _read_position(source: Iterator[int]) -> Position:
    active_at = _EPOCH + _read_number(source) * _MICROSECOND
    return Position(active_at, UUID(bytes=_read_bytes(source, 16)))


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last byte have their top bit set."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _read_number(source: Iterator[int]) -> int:
    value = 0
    for place, byte in enumerate(islice(source, 9)):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    raise ValueError


def _read_bytes(source: Iterator[int], count: int) -> bytes:
    data = bytes(islice(source, count))
    if len(data) < count:
        raise ValueError
    return data
