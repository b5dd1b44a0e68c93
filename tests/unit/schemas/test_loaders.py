"""The short cut loads what the schema loads: the same result, or the same error."""

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema

from chatserver.errors import InvalidPayload
from chatserver.schemas import requests
from chatserver.schemas.base import load
from chatserver.schemas.loaders import Loader
from chatserver.schemas.sync import SyncRequest

SCHEMAS: list[Schema] = [
    requests.ConversationEvent(),
    requests.MessageEvent(),
    requests.EditEvent(),
    requests.DeleteEvent(),
    requests.TypingEvent(),
    requests.DeliveredEvent(),
    requests.ReadEvent(),
    requests.AuthenticateEvent(),
    SyncRequest(),
]
each_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: type(schema).__name__)

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.sampled_from(
        ["text", "image", "TEXT", "", "1", "x" * 30_000, 2**53, 0, 1, [], {}, "a" * 36]
    )
    | st.builds(lambda: str(uuid4()))
    | st.builds(lambda: str(uuid4()).upper())
    | st.builds(lambda: uuid4().hex)
    | st.builds(lambda: f"{{{uuid4()}}}")
    | st.builds(lambda: f"urn:uuid:{uuid4()}")
)


def outcome(how: Any, data: Any) -> Any:
    try:
        return repr(how(data))
    except InvalidPayload as error:
        return error.to_dict()


@each_schema
@given(data=st.data())
def test_whatever_comes_the_result_is_the_schemas(schema: Schema, data: st.DataObject) -> None:
    names = [*schema.load_fields, "unknown"]
    payload = data.draw(st.dictionaries(st.sampled_from(names), VALUES) | VALUES)
    slow = outcome(lambda value: dict(sorted(load(schema, value).items())), payload)
    fast = outcome(lambda value: dict(sorted(Loader(schema).load(value).items())), payload)
    assert fast == slow


def test_a_plain_message_never_gets_to_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(requests.MessageEvent())
    payload = {
        "conversation_id": str(uuid4()),
        "content": "hello",
        "client_msg_id": str(uuid4()),
        "message_type": "text",
        "reply_to_seq": 3,
        "media_url": None,
    }
    expected = load(loader.schema, payload)
    monkeypatch.setattr("chatserver.schemas.loaders.load", None)
    assert loader.load(payload) == expected
