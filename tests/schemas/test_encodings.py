"""A message is encoded once for its acknowledgement and its event."""

from dataclasses import replace
from uuid import uuid4

import orjson

from chatserver.schemas import encodings
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.objects import dump_message
from tests.schemas.test_objects import MESSAGES


def test_what_is_encoded_is_the_dumped_message() -> None:
    encoder = MessageEncoder()
    for message in MESSAGES:
        for _ in range(3):
            answer = {"ok": True, "message": encoder.encode(message)}
            assert orjson.loads(orjson.dumps(answer))["message"] == dump_message(message)


def test_the_second_of_two_gets_what_the_first_got() -> None:
    encoder = MessageEncoder()
    assert encoder.encode(MESSAGES[0]) is encoder.encode(MESSAGES[0])


def test_another_version_of_the_message_is_encoded_anew() -> None:
    encoder = MessageEncoder()
    encoder.encode(MESSAGES[0])
    edited = replace(MESSAGES[0], content="another")
    assert b"another" in orjson.dumps(encoder.encode(edited))


def test_it_keeps_only_the_latest() -> None:
    encoder = MessageEncoder()

    for _ in range(encodings.MAX_KEPT + 10):
        encoder.encode(replace(MESSAGES[0], id=uuid4()))
    assert len(encoder._kept) == encodings.MAX_KEPT
