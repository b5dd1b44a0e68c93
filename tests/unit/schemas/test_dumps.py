"""Dump functions that are made from schemas; test_objects has those of the wire."""

from types import SimpleNamespace
from uuid import UUID

import pytest
from marshmallow import fields

from chatserver.schemas.base import Schema
from chatserver.schemas.dumps import dump_function

ID = UUID("3f8b2f0e-5f0c-4c43-9a51-0a6a2f6f8d11")


class Part(Schema):
    id = fields.UUID(required=True)


class Whole(Schema):
    parts = fields.List(fields.Nested(Part), required=True)
    part = fields.Nested(Part, required=True, allow_none=True)
    from_ = fields.Float(required=True, data_key="from", allow_none=True)


WHOLE = SimpleNamespace(parts=[SimpleNamespace(id=ID)], part=SimpleNamespace(id=ID), from_=1)


def test_what_is_inside_is_dumped_alike() -> None:
    dumped = dump_function(Whole)(WHOLE)
    assert dumped == {"parts": [{"id": str(ID)}], "part": {"id": str(ID)}, "from": 1.0}
    assert dumped == Whole().dump(WHOLE)


def test_what_may_be_nothing_is_nothing() -> None:
    nothing = SimpleNamespace(parts=[], part=None, from_=None)
    assert dump_function(Whole)(nothing) == {"parts": [], "part": None, "from": None}


def test_orjson_gets_what_it_writes_by_itself_but_for_what_is_inside() -> None:
    assert dump_function(Part, for_orjson=True)(WHOLE.part) == {"id": ID}
    assert dump_function(Whole, for_orjson=True)(WHOLE)["parts"] == [{"id": str(ID)}]


def test_a_field_that_nobody_has_thought_of_is_refused_when_the_function_is_made() -> None:
    with pytest.raises(TypeError, match="no dump for"):
        dump_function(Schema.from_dict({"when": fields.Date()}))
