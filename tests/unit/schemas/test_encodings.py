"""A message is encoded once for its acknowledgement and its event."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
from hypothesis import given
from hypothesis import strategies as st

from chatserver.models import Message, MessageStatus, MessageType, SenderRole, User
from chatserver.schemas import encodings
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.objects import dump_message
from tests.unit.schemas.test_objects import MESSAGES

SENT = Message(
    id=uuid4(),
    conversation_id=uuid4(),
    seq=1,
    rev=1,
    sender_id=uuid4(),
    sender_role=SenderRole.CLIENT,
    message_type=MessageType.TEXT,
    content="hello",
    media_url=None,
    status=MessageStatus.SENT,
    created_at=datetime(2026, 1, 31, tzinfo=UTC),
    updated_at=datetime(2026, 1, 31, tzinfo=UTC),
    delivered_at=None,
    read_at=None,
    edited_at=None,
    is_deleted=False,
    client_msg_id=uuid4(),
    reply_to_seq=None,
)


def test_what_is_encoded_is_the_dumped_message() -> None:
    encoder = MessageEncoder()
    for _ in range(3):
        answer = {"ok": True, "message": encoder.encode(SENT)}
        assert orjson.loads(orjson.dumps(answer))["message"] == dump_message(SENT)


@given(message=MESSAGES, is_untouched=st.booleans(), microsecond=st.sampled_from([0, 1, 500_000]))
def test_any_message_is_encoded_as_it_is_dumped(
    message: Message, is_untouched: bool, microsecond: int
) -> None:
    if is_untouched:
        at = message.created_at.replace(microsecond=microsecond)
        message = replace(message, created_at=at, updated_at=at)
    encoded = orjson.dumps(MessageEncoder().encode(message))
    assert orjson.loads(encoded) == dump_message(message)


class DriversUUID(UUID):
    """As asyncpg makes them: orjson knows `UUID` alone."""


def test_a_sender_who_was_looked_up_is_encoded() -> None:
    sender = User(DriversUUID(int=1), "Ada", None, None)
    at = SENT.created_at.replace(microsecond=1)
    message = replace(SENT, created_at=at, updated_at=at, sender=sender)
    encoded = orjson.loads(orjson.dumps(MessageEncoder().encode(message)))
    assert encoded["sender"]["id"] == str(UUID(int=1))


def test_the_second_of_two_gets_what_the_first_got() -> None:
    encoder = MessageEncoder()
    assert encoder.encode(SENT) is encoder.encode(SENT)


def test_another_version_of_the_message_is_encoded_anew() -> None:
    encoder = MessageEncoder()
    encoder.encode(SENT)
    edited = replace(SENT, content="another")
    assert b"another" in orjson.dumps(encoder.encode(edited))


def test_it_keeps_only_the_latest() -> None:
    encoder = MessageEncoder()

    for _ in range(encodings.MAX_KEPT + 10):
        encoder.encode(replace(SENT, id=uuid4()))
    assert len(encoder._kept) == encodings.MAX_KEPT
