"""Bounds before work: sizes are looked at before any value, and few faults are named.

Each payload here has a fault in every part, so an answer that named one of them would
show that the parts were looked at.
"""

from typing import Any
from uuid import uuid4

import orjson
import pytest

from chatserver.errors import InvalidPayload
from chatserver.schemas import requests
from chatserver.schemas.base import MAX_BAD_FIELDS, MAX_UNKNOWN, Schema
from chatserver.schemas.loaders import Loader
from chatserver.schemas.notices import MAX_DATA_BYTES, MAX_USERS, NoticeBody
from chatserver.schemas.sync import MAX_OPEN, SyncRequest

MANY = 10_000


def problems(schema: Schema, payload: dict[str, Any]) -> dict[str, list[str]]:
    with pytest.raises(InvalidPayload) as caught:
        Loader(schema).load(payload)
    fields = caught.value.to_dict()["fields"]
    assert isinstance(fields, dict)
    return fields


def notice(**values: Any) -> dict[str, Any]:
    return {"content": "x", **values}


@pytest.mark.parametrize(
    ("schema", "payload", "field", "longest"),
    [
        (SyncRequest(), {"open": {f"{i:x}": 0 for i in range(MANY)}}, "open", MAX_OPEN),
        (NoticeBody(), notice(user_ids=[0] * MANY), "user_ids", MAX_USERS),
        (
            NoticeBody(),
            notice(data={f"{i:x}": 0 for i in range(MANY)}),
            "data",
            MAX_DATA_BYTES // 6,
        ),
    ],
)
def test_what_is_too_long_is_not_looked_through(
    schema: Schema, payload: dict[str, Any], field: str, longest: int
) -> None:
    assert problems(schema, payload) == {field: [f"Longer than maximum length {longest}."]}


def test_an_object_with_many_unknown_fields_is_not_looked_at() -> None:
    found = problems(
        requests.MessageEvent(), {"content": 5, **dict.fromkeys(map(str, range(MANY)))}
    )
    assert list(found) == ["_schema", *map(str, range(MAX_UNKNOWN))]
    assert len(orjson.dumps(found)) < 500


def test_a_few_unknown_fields_are_named_beside_what_else_is_wrong() -> None:
    found = problems(requests.MessageEvent(), {"content": 5, "a": 1, "b": 2})
    assert set(found) == {"content", "a", "b", "conversation_id"}


def test_unknown_fields_further_in_are_bounded_too() -> None:
    entry = dict.fromkeys(map(str, range(100)))
    found = problems(SyncRequest(), {"open": {str(uuid4()): entry for _ in range(MAX_OPEN)}})
    assert len(found) == MAX_BAD_FIELDS
    assert all(".value.seq" not in name for name in found)


@pytest.mark.parametrize(
    "data", [{"a": [[]] * MANY}, {"a": [{"b": [0] * MANY}] * 2}, {"a": "x" * MAX_DATA_BYTES}]
)
def test_data_of_a_notice_is_measured_only_as_far_as_it_may_go(data: dict[str, Any]) -> None:
    (text,) = problems(NoticeBody(), notice(data=data))["data"]
    assert text == f"Must not be longer than {MAX_DATA_BYTES} bytes of JSON."
