"""What all schemas have in common: unknown fields are bad, and errors name each field."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import marshmallow as ma
from marshmallow import fields, validate

from chatserver.errors import InvalidPayload

MAX_SEQ = 2**53 - 1
"""The largest number that JavaScript counts exactly."""

T = TypeVar("T")


class Schema(ma.Schema):
    """Loads mappings with string keys; anything that it does not name is an error."""

    class Meta:
        unknown = ma.RAISE


class Integer(fields.Integer):
    """A JSON integer: no text, no fraction, no boolean."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)

    def _validated(self, value: Any) -> int:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Boolean(fields.Boolean):
    """A JSON boolean: not 0, not "yes"."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Timestamp(fields.AwareDateTime):
    """RFC 3339 in UTC with microseconds; text without an offset is taken as UTC."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", default_timezone=UTC, **options)

    def _serialize(self, value: Any, attr: Any, obj: Any, **options: Any) -> str | None:
        return timestamp(value)


def timestamp(value: datetime | None) -> str | None:
    """`2026-01-31T12:00:00.000000Z`"""
    if value is None:
        return None
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")[:-6] + "Z"


def sequence_number(**options: Any) -> Integer:
    """A message's number, or a number before the first one."""
    return Integer(validate=validate.Range(min=0, max=MAX_SEQ), **options)


def load(schema: ma.Schema, data: Any) -> dict[str, Any]:
    """`data` as `schema` has it. Raises InvalidPayload, which names each bad field."""
    if not isinstance(data, Mapping):
        raise InvalidPayload("The payload must be an object.", fields={})
    try:
        return schema.load(data)  # type: ignore[no-any-return]
    except ma.ValidationError as error:
        raise InvalidPayload(fields=flatten(error.messages)) from None


def flatten(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """Marshmallow's nested messages as `{"open.<key>.seq": ["…"]}`."""
    if not isinstance(messages, Mapping):
        return {prefix or "_schema": [str(message) for message in messages]}
    flat: dict[str, list[str]] = {}
    for key, value in messages.items():
        # What a client made up must not blow up the answer, nor be text that is none.
        name = str(key)[:100].encode("utf-8", "replace").decode()
        flat.update(flatten(value, f"{prefix}.{name}" if prefix else name))
    return flat
