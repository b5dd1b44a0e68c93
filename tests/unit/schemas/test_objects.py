"""The functions that dump objects and events agree with the schemas that describe them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatserver import events, models
from chatserver.errors import ChatError, InvalidPayload, RateLimited
from chatserver.schemas import events as event_schemas
from chatserver.schemas import objects, revocations
from chatserver.schemas.base import Schema, timestamp

MOMENTS = st.datetimes(
    datetime(1970, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(0, 2**53 - 1)
PRICES = st.decimals(0, 10**8, places=2)

STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {datetime: MOMENTS, str: TEXTS, int: NUMBERS}


def model(kind: type[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of a model, every member of which takes any value that its type allows."""
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for name, hint in kind.__annotations__.items():
        for plain, strategy in STRATEGIES.items():
            if hint is plain:
                parts[name] = strategy
            elif hint == plain | None:
                parts[name] = st.none() | strategy
    return st.builds(kind, **{**parts, **more})


MESSAGES = model(models.Message, sender=st.none() | model(models.User))
PRESENCES = model(models.Presence)
CONVERSATIONS = model(
    models.Conversation,
    listing=model(models.Listing, price=st.none() | PRICES),
    client=model(models.User),
    owner=model(models.User),
    participants=st.lists(model(models.Participant), max_size=3),
    last_message=st.none() | MESSAGES,
    peer_presence=st.none() | model(models.PeerPresence, user_ids=st.just(())),
)

DUMPS: list[tuple[type[Schema], Callable[[Any], dict[str, Any]], st.SearchStrategy[Any]]] = [
    (objects.MessageSchema, objects.dump_message, MESSAGES),
    (objects.ConversationSchema, objects.dump_conversation, CONVERSATIONS),
    (objects.PresenceSchema, objects.dump_presence, PRESENCES),
    (event_schemas.TypingSchema, event_schemas.dump_typing, model(events.TypingChanged)),
    (
        event_schemas.PresenceEventSchema,
        event_schemas.dump_presence_event,
        model(events.PresenceChanged, presence=PRESENCES),
    ),
    (
        event_schemas.DeliveryReceiptSchema,
        event_schemas.dump_delivery_receipt,
        model(events.DeliveryReceipt),
    ),
    (event_schemas.ReadReceiptSchema, event_schemas.dump_read_receipt, model(events.ReadReceipt)),
    (event_schemas.UnreadSchema, event_schemas.dump_unread, model(events.UnreadChanged)),
    (event_schemas.HeadSchema, event_schemas.dump_head, model(events.HeadMoved)),
    (
        event_schemas.NoticeSchema,
        event_schemas.dump_notice,
        model(
            events.NoticeSent,
            data=st.none() | st.dictionaries(TEXTS, st.none() | TEXTS | NUMBERS, max_size=3),
            user_ids=st.none(),
        ),
    ),
    (
        revocations.RevocationSchema,
        revocations.dump_revocation,
        model(
            models.Revocation,
            user_id=st.none() | st.uuids(),
            is_lifted=st.just(value=False),
        ),
    ),
]


@pytest.mark.parametrize(
    ("schema", "dump", "strategy"), DUMPS, ids=lambda part: getattr(part, "__name__", "")
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_dumped_loads_by_its_schema_as_the_same(
    schema: type[Schema],
    dump: Callable[[Any], dict[str, Any]],
    strategy: st.SearchStrategy[Any],
    data: st.DataObject,
) -> None:
    original = data.draw(strategy)
    on_the_wire = orjson.loads(orjson.dumps(dump(original)))
    assert set(on_the_wire) == set(schema().fields)
    assert_same(original, schema().load(on_the_wire))


def assert_same(original: Any, loaded: dict[str, Any]) -> None:
    """Each member is that of the model, or of the presence that an event tells of."""
    for name, value in loaded.items():
        if name == "attachment":
            assert value is None
        elif name not in type(original).__annotations__:
            assert value == getattr(original.presence, name)
        elif isinstance(value, dict) and name != "data":
            assert_same(getattr(original, name), value)
        elif name == "participants":
            for participant, part in zip(original.participants, value, strict=True):
                assert_same(participant, part)
        else:
            expected = getattr(original, name)
            assert value == (float(expected) if isinstance(expected, Decimal) else expected)


@given(moment=MOMENTS)
def test_times_are_in_utc_with_microseconds(moment: datetime) -> None:
    text = timestamp(moment)
    assert text is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert datetime.fromisoformat(text) == moment


@pytest.mark.parametrize(
    "error",
    [RateLimited(retry_after=1.5), InvalidPayload(fields={"a": ["b"]})],
)
def test_errors_are_as_their_schema_says(error: ChatError) -> None:
    loaded = objects.ErrorSchema().load(error.to_dict())
    assert loaded["code"] == error.code
