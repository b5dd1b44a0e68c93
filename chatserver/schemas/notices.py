"""Notices: what is asked. The event that they become is among `events`."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from marshmallow import ValidationError, fields, validate

from chatserver.schemas.base import Dict, List, Schema
from chatserver.schemas.requests import MAX_RAW_CONTENT
from chatserver.services.notices import MAX_LENGTH

MAX_DATA_BYTES: Final = 4096
MAX_DATA_DEPTH: Final = 20
"""Far below what writers and readers of JSON refuse."""

LEAST_MEMBER: Final = len('"a":0,')
"""Bytes of JSON that nearly every member of an object takes."""

MAX_USERS: Final = 1000


def _check_data(data: dict[str, Any]) -> None:
    depth = _depth(data)
    if depth is not None and depth > MAX_DATA_DEPTH:
        raise ValidationError(f"Must not be nested deeper than {MAX_DATA_DEPTH}.")
    if depth is None or len(orjson.dumps(data)) > MAX_DATA_BYTES:
        raise ValidationError(f"Must not be longer than {MAX_DATA_BYTES} bytes of JSON.")


def _depth(data: dict[str, Any]) -> int | None:
    """Return how deeply objects and lists are nested, up to one more than is allowed.

    None for what must be longer than is allowed: a value takes two bytes and its comma.
    """
    seen = 0
    level: list[Any] = [data]
    for depth in range(1, MAX_DATA_DEPTH + 2):
        seen += sum(map(len, level))
        if 2 * seen > MAX_DATA_BYTES:
            return None
        level = [part for value in level for part in _parts(value) if isinstance(part, dict | list)]
        if not level:
            return depth
    return depth


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


class NoticeBody(Schema):
    content = fields.String(
        required=True,
        validate=validate.Length(min=1, max=MAX_RAW_CONTENT),
        metadata={"maxLength": MAX_LENGTH},
    )
    data = Dict(
        max_length=MAX_DATA_BYTES // LEAST_MEMBER,
        keys=fields.String(),
        values=fields.Raw(allow_none=True),
        load_default=None,
        allow_none=True,
        validate=_check_data,
        metadata={"description": "For programs: the server only passes it on; at most 4 KB"},
    )
    user_ids = List(
        fields.UUID(),
        max_length=MAX_USERS,
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1),
        metadata={"description": "Only the devices of these users; without it, everybody's"},
    )


class AcceptedSchema(Schema):
    status = fields.String(required=True, validate=validate.Equal("accepted"))
