"""The raw websocket's frames, both ways, without a connection."""

import json
from typing import Any
from uuid import uuid4

import orjson
import pytest

from chatserver.eio.websocket import BINARY_MARK, frame_payload, text_frame
from chatserver.realtime.raw_clients import MAX_AHEAD, MAX_ECHOES, Echoes, Revisions
from chatserver.realtime.raw_frames import NO_EVENT, Rewording, error_frame, read_frame
from chatserver.sio.packets import encode_event

CHAT, KEY, MESSAGE = (str(uuid4()) for _ in range(3))


def read(frame: Any) -> Any:
    return read_frame(json.dumps(frame).encode(), CHAT)


def event(name: str, payload: Any) -> bytes:
    """The frame of an event, as it is for Socket.IO clients."""
    return text_frame(encode_event(name, payload))


def shown(frame: bytes | None) -> Any:
    assert frame is not None
    return json.loads(frame_payload(frame))


# What clients send


@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        (
            {"type": "message", "content": "hi", "message_type": "text"},
            {"content": "hi", "message_type": "text", "conversation_id": CHAT},
        ),
        (
            {"type": "message", "content": "hi", "client_msg_id": KEY},
            {"content": "hi", "client_msg_id": KEY, "conversation_id": CHAT},
        ),
        ({"type": "typing", "is_typing": True}, {"is_typing": True, "conversation_id": CHAT}),
        ({"type": "read", "message_id": MESSAGE}, {"message_id": MESSAGE}),
    ],
)
def test_a_frame_is_the_event_of_its_type(frame: Any, payload: Any) -> None:
    request = read(frame)
    assert (request.event, request.payload, request.error) == (frame["type"], payload, None)
    assert request.client_msg_id == frame.get("client_msg_id")


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({}, "type"),
        ({"type": None}, "type"),
        ({"type": 7}, "type"),
        ({"type": {}}, "type"),
        ({"type": "join"}, "type"),
        ({"type": "edit", "message_id": MESSAGE, "content": "x"}, "type"),
        ({"type": "message", "content": 7}, "content"),
        ({"type": "message", "content": "x", "message_type": "video"}, "message_type"),
        ({"type": "message", "content": "x", "client_msg_id": "mine"}, "client_msg_id"),
        ({"type": "message", "content": "x", "conversation_id": CHAT}, "conversation_id"),
        ({"type": "typing"}, "is_typing"),
        ({"type": "typing", "is_typing": 1}, "is_typing"),
        ({"type": "typing", "is_typing": True, "conversation_id": CHAT}, "conversation_id"),
        ({"type": "read"}, "message_id"),
        ({"type": "read", "message_id": None}, "message_id"),
        ({"type": "read", "message_id": MESSAGE, "seq": 7}, "seq"),
    ],
)
def test_a_wrong_frame_is_no_event_and_its_bad_member_is_named(frame: Any, field: str) -> None:
    request = read(frame)
    assert request.event == NO_EVENT
    assert request.error.code == "invalid_payload"
    assert list(request.error.fields) == [field]


@pytest.mark.parametrize("data", [b"", b"hi", b"{", b"NaN", b"\xff", BINARY_MARK, b"[]", b'"x"'])
def test_what_is_no_object_is_no_event(data: bytes) -> None:
    request = read_frame(data, CHAT)
    assert request.event == NO_EVENT
    assert request.error is not None
    assert request.error.code == "invalid_payload"


@pytest.mark.parametrize("kind", ["message", "massage"])
def test_the_key_of_a_wrong_send_is_known_if_it_may_be_one(kind: str) -> None:
    wrong = {"type": kind, "content": None}
    assert read({**wrong, "client_msg_id": KEY}).client_msg_id == KEY
    for key in ("\ud800", "x" * 36, "a" * 37, "", 7, None):
        assert read({**wrong, "client_msg_id": key}).client_msg_id is None


def test_an_error_tells_the_key_of_its_send() -> None:
    error = {"code": "rate_limited", "detail": "…", "retryable": True, "retry_after": 2.0}
    assert shown(error_frame(error)) == {"type": "error", "data": error}
    assert shown(error_frame(error, KEY))["data"] == {**error, "client_msg_id": KEY}


# What clients get


@pytest.mark.parametrize(
    "name", ["message", "message_updated", "message_deleted", "delivery_receipt", "error"]
)
def test_an_objects_event_has_it_as_data(name: str) -> None:
    payload = {"conversation_id": CHAT, "content": 'a "]} \u2028 b', "rev": 3}
    reworded = Rewording().reword(event(name, payload))
    assert reworded is not None
    assert shown(reworded.frame) == {"type": name, "data": payload}
    assert reworded.conversation_id == CHAT


@pytest.mark.parametrize("name", ["typing", "presence", "read_receipt"])
def test_other_events_have_their_members_beside_the_type_and_as_data(name: str) -> None:
    payload = {"user_id": str(uuid4()), "timestamp": "2026-01-31T12:00:00.000000Z"}
    reworded = Rewording().reword(event(name, payload))
    assert reworded is not None
    assert shown(reworded.frame) == {"type": name, **payload, "data": payload}
    assert reworded.conversation_id is None


@pytest.mark.parametrize("name", ["unread", "notice", "pong"])
def test_other_events_are_not_for_raw_connections(name: str) -> None:
    assert Rewording().reword(event(name, {"conversation_id": CHAT})) is None


@pytest.mark.parametrize("payload", [None, [], "hi", 7])
def test_an_event_of_another_program_with_anything_in_it_is_not_either(payload: Any) -> None:
    assert Rewording().reword(event("message", payload)) is None


def test_a_head_is_known_and_not_told() -> None:
    head = {"conversation_id": CHAT, "last_seq": 3, "rev": 7}
    reworded = Rewording().reword(event("head", head))
    assert reworded is not None
    assert (reworded.frame, reworded.data) == (None, head)


def test_a_change_of_the_conversation_counts_and_is_not_told() -> None:
    """Else the next `head` would be taken to tell of something missed."""
    reworded = Rewording().reword(event("conversation", {"id": CHAT, "rev": 7}))
    assert reworded is not None
    assert (reworded.frame, reworded.conversation_id, reworded.data["rev"]) == (None, CHAT, 7)


def test_an_event_is_reworded_once_for_all_who_get_it() -> None:
    rewording = Rewording()
    first, second = (event("message", orjson.Fragment(b'{"seq":%d}' % seq)) for seq in (1, 2))
    told = [rewording.reword(frame) for frame in (first, first, second, first)]
    assert told[0] is told[1]
    assert [one and one.data for one in told] == [{"seq": seq} for seq in (1, 1, 2, 1)]


# What a client has been told


def test_changes_are_all_known_when_none_is_missing_however_they_came() -> None:
    revisions = Revisions()
    assert not revisions.has_all(0)
    revisions.add(8)  # while the history that ends with 7 is being read
    revisions.add(3)
    revisions.begin(7)
    assert revisions.has_all(8)
    revisions.add(10)
    assert not revisions.has_all(10)
    revisions.add(9)
    assert revisions.has_all(10)
    assert not revisions.has_all(11)


def test_a_gap_is_kept_within_bounds_and_stays_one() -> None:
    revisions = Revisions()
    revisions.begin(0)
    for rev in range(2, 3 * MAX_AHEAD):
        revisions.add(rev)
    assert len(revisions._ahead) == MAX_AHEAD
    revisions.add(1)
    assert not revisions.has_all(3 * MAX_AHEAD - 1)


def test_a_message_of_ones_own_is_shown_once_by_its_answer_or_its_event() -> None:
    echoes = Echoes()
    assert echoes.is_due("the other's")
    echoes.begin()
    assert echoes.answer("answer first")
    echoes.end()
    assert not echoes.is_due("answer first")
    echoes.begin()
    assert echoes.is_due("event first")
    assert not echoes.answer("event first")
    echoes.end()
    # A repeat is answered again, since whoever repeats waits for it.
    echoes.begin()
    assert echoes.answer("event first")
    echoes.end()


def test_answers_whose_events_never_come_are_forgotten() -> None:
    echoes = Echoes()
    for number in range(2 * MAX_ECHOES):
        echoes.begin()
        assert echoes.answer(f"{number}")
        echoes.end()
    assert len(echoes._answered) == MAX_ECHOES
