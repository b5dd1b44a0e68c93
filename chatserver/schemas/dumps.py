"""Makes the functions that dump objects, from the schemas that describe them.

marshmallow itself takes ten times as long, and this is on the path of every message. So
each schema is compiled once: `{"id": str(it.id), "seq": it.seq, …}`.
"""

from collections.abc import Callable
from typing import Any

import marshmallow as ma
from marshmallow import fields

from chatserver.schemas.base import Timestamp, timestamp

Dump = Callable[[Any], dict[str, Any]]


def dump_function(schema: type[ma.Schema], *, for_orjson: bool = False) -> Dump:
    """A function that takes an object which has the schema's fields as attributes.

    It returns what JSON knows; with `for_orjson` its own ids and times are left as they are,
    which that writes faster. Those of an object inside another are not: they may come from
    the database, whose driver has a UUID that orjson does not know. Raises TypeError for a
    field of a kind that is not in `_expression`.
    """
    scope: dict[str, Any] = {"timestamp": timestamp}
    members = (
        f"{field.data_key or name!r}: {_expression(field, f'it.{name}', scope, for_orjson)}"
        for name, field in schema().fields.items()
    )
    made: Dump = eval(f"lambda it: {{{', '.join(members)}}}", scope)  # noqa: S307
    return made


def _expression(
    field: fields.Field[Any], value: str, scope: dict[str, Any], for_orjson: bool
) -> str:
    """Return the expression that dumps `value` as `field` says; its functions go into `scope`."""
    match field:
        case fields.String() | fields.Integer() | fields.Boolean():
            text = value
        case fields.UUID():
            text = value if for_orjson else f"str({value})"
        case Timestamp():
            return value if for_orjson else f"timestamp({value})"  # Of None it is None.
        case fields.Float():
            text = f"float({value})"
        case fields.Enum(by_value=True):
            text = value if for_orjson else f"{value}.value"
        case fields.Dict():
            text = f"dict({value})"
        case fields.Nested():
            name = f"dump_{len(scope)}"
            scope[name] = dump_function(type(field.schema))
            text = f"{name}({value})"
        case fields.List():
            text = f"[{_expression(field.inner, 'each', scope, for_orjson)} for each in {value}]"
        case _:
            raise TypeError(f"no dump for {field!r}")
    return f"None if {value} is None else {text}" if field.allow_none and text != value else text
