"""Base of all schemas: unknown fields are bad, and errors name each field."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeVar

import marshmallow as ma
from marshmallow import fields, validate

from chatserver.errors import InvalidPayload

MAX_SEQ = 2**53 - 1
"""The largest number that JavaScript counts exactly."""

MAX_UNKNOWN: Final = 5
"""So many unknown fields are named; an object with more is not looked at any further."""

MAX_BAD_FIELDS: Final = 20
"""So many bad fields are named in one answer."""

T = TypeVar("T")


class Schema(ma.Schema):
    """Loads mappings with string keys; anything that it does not name is an error.

    That is looked at before any value, and costs no more for many fields than for a few.
    """

    class Meta:
        unknown = ma.RAISE

    @classmethod
    def declared(cls) -> Mapping[str, fields.Field[Any]]:
        """The fields as the class has them, which another schema may have, too."""
        return cls._declared_fields

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._names = {field.data_key or name for name, field in self.load_fields.items()}

    def load(self, data: Any, **options: Any) -> Any:
        """Load `data`, as in marshmallow. Raises ValidationError."""
        if isinstance(data, Mapping):
            unknown = list(islice((name for name in data if name not in self._names), MAX_UNKNOWN))
            if len(unknown) == MAX_UNKNOWN and len(data) > MAX_UNKNOWN + len(self._names):
                problems = {name: ["Unknown field."] for name in unknown}
                raise ma.ValidationError({"_schema": ["Too many unknown fields."], **problems})
        return super().load(data, **options)


def has_hooks(schema: ma.Schema) -> bool:
    """Return whether a hook sees the whole payload before or after its fields are loaded."""
    return any(schema._hooks.values())


class Dict(fields.Dict):
    """A JSON object of at most `max_length` members, counted before any is looked at."""

    def __init__(self, *, max_length: int, **options: Any) -> None:
        self._length = validate.Length(max=max_length)
        super().__init__(**options)
        self.validators.insert(0, self._length)  # where OpenAPI finds it

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(value, Mapping):
            self._length(value)
        return super()._deserialize(value, *rest, **options)  # type: ignore[no-untyped-call]


class List(fields.List[T]):
    """A JSON array of at most `max_length` values, counted before any is looked at."""

    def __init__(self, inner: fields.Field[T], *, max_length: int, **options: Any) -> None:
        self._length = validate.Length(max=max_length)
        super().__init__(inner, **options)
        self.validators.insert(0, self._length)

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> list[Any]:
        if isinstance(value, list):
            self._length(value)
        return super()._deserialize(value, *rest, **options)


class Integer(fields.Integer):
    """A JSON integer: no text, no fraction, no boolean."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> int:
        if isinstance(value, bool | str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *rest, **options)


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


def flatten(messages: Any) -> dict[str, list[str]]:
    """Marshmallow's nested messages as `{"open.<key>.seq": ["…"]}`: the first MAX_BAD_FIELDS."""
    return dict(islice(_flat(messages, ""), MAX_BAD_FIELDS))


def _flat(messages: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    if not isinstance(messages, Mapping):
        yield prefix or "_schema", [str(message) for message in messages]
        return
    for key, value in messages.items():
        # What a client made up must not blow up the answer, nor be text that is none.
        name = str(key)[:100].encode("utf-8", "replace").decode()
        yield from _flat(value, f"{prefix}.{name}" if prefix else name)
