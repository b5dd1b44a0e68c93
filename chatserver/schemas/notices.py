"""Notices: what is asked. The event that they become is among `events`."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from marshmallow import ValidationError, fields, validate

from chatserver.schemas.base import Schema
from chatserver.schemas.requests import MAX_RAW_CONTENT
from chatserver.services.notices import MAX_LENGTH

MAX_DATA_BYTES: Final = 4096
MAX_DATA_DEPTH: Final = 20
"""Far below what writers and readers of JSON refuse."""

MAX_USERS: Final = 1000


def _check_data(data: dict[str, Any]) -> None:
    if _depth(data) > MAX_DATA_DEPTH:
        raise ValidationError(f"Must not be nested deeper than {MAX_DATA_DEPTH}.")
    if len(orjson.dumps(data)) > MAX_DATA_BYTES:
        raise ValidationError(f"Must not be longer than {MAX_DATA_BYTES} bytes of JSON.")


def _depth(data: dict[str, Any]) -> int:
    """How many objects and lists are inside one another, at most."""
    depth = 0
    level: list[Any] = [data]
    while level:
        depth += 1
        level = [part for value in level for part in _parts(value) if isinstance(part, dict | list)]
    return depth


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


class NoticeBody(Schema):
    content = fields.String(
        required=True,
        validate=validate.Length(min=1, max=MAX_RAW_CONTENT),
        metadata={"maxLength": MAX_LENGTH},
    )
    data = fields.Dict(
        keys=fields.String(),
        values=fields.Raw(allow_none=True),
        load_default=None,
        allow_none=True,
        validate=_check_data,
        metadata={"description": "For programs: the server only passes it on; at most 4 KB"},
    )
    user_ids = fields.List(
        fields.UUID(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=MAX_USERS),
        metadata={"description": "Only the devices of these users; without it, everybody's"},
    )


class AcceptedSchema(Schema):
    status = fields.String(required=True, validate=validate.Equal("accepted"))
