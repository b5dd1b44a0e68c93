"""Messages over REST."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from chatserver.dev.demo import ADMIN, LANDLORD, SERVICE
from tests.integration.api.conftest import Start
from tests.integration.api.rest import API, Rest, follow, unknown_id, without_request_id

KEY = "6f1c1d2e-8f57-4b1e-9a53-0a4b6a0f3c77"


async def test_sending_answers_201_with_the_stored_message(rest: Rest) -> None:
    conversation = await rest.open()
    key = str(uuid4())
    body = {"content": "hello", "client_msg_id": key}
    reply = await rest.post(f"{conversation}/messages", body)
    assert reply.status == 201
    message = reply.json
    assert (message["seq"], message["content"], message["status"]) == (1, "hello", "sent")
    assert (message["sender_id"], message["client_msg_id"]) == (str(rest.tenant.id), key)
    assert (await rest.get(f"{conversation}/messages", user=rest.landlord)).json == [message]


@pytest.mark.parametrize("header", ["{}", '"{}"'])
async def test_a_repeated_key_answers_200_with_the_first_message(rest: Rest, header: str) -> None:
    conversation, key = await rest.open(), str(uuid4())
    headers = {"Idempotency-Key": header.format(key.upper())}
    first = await rest.post(f"{conversation}/messages", {"content": "hello"}, headers=headers)
    again = await rest.post(f"{conversation}/messages", {"content": "hello"}, headers=headers)
    in_body = await rest.post(
        f"{conversation}/messages", {"content": "hello", "client_msg_id": key}, headers=headers
    )
    assert (first.status, again.status, in_body.status) == (201, 200, 200)
    assert first.json["client_msg_id"] == key
    assert first.json == again.json == in_body.json


async def test_a_repeated_key_finds_the_first_message_though_the_databases_clock_was_days_ahead(
    rest: Rest,
) -> None:
    conversation = await rest.open()
    await rest.sql(
        "UPDATE chat.conversations SET last_message_at = now() + interval '3 days' WHERE id = :id",
        id=conversation.rpartition("/")[2],
    )
    body = {"content": "hello", "client_msg_id": str(uuid4())}
    first = await rest.post(f"{conversation}/messages", body)
    again = await rest.post(f"{conversation}/messages", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json


async def test_fifty_repeats_at_once_make_one_message(rest: Rest) -> None:
    conversation, key = await rest.open(), str(uuid4())
    body = {"content": "hello", "client_msg_id": key}
    replies = await asyncio.gather(
        *(rest.post(f"{conversation}/messages", body) for _ in range(50))
    )
    assert sorted(reply.status for reply in replies) == [200] * 49 + [201]
    assert len({reply.json["id"] for reply in replies}) == 1


async def test_a_key_with_another_body_is_a_conflict(rest: Rest) -> None:
    conversation, key = await rest.open(), str(uuid4())
    for content, status in (("hello", 201), ("goodbye", 409)):
        body = {"content": content, "client_msg_id": key}
        reply = await rest.post(f"{conversation}/messages", body)
        assert reply.status == status
    assert reply.code == "idempotency_conflict"


@pytest.mark.parametrize("header", ["", "x", '"', '""', "5", f"{KEY},{KEY}", f"{{{KEY}}}"])
async def test_a_key_that_is_no_uuid_is_refused(rest: Rest, header: str) -> None:
    conversation = await rest.open()
    reply = await rest.post(
        f"{conversation}/messages", {"content": "hi"}, headers={"Idempotency-Key": header}
    )
    assert reply.bad_fields == {"Idempotency-Key"}


async def test_two_different_keys_are_refused(rest: Rest) -> None:
    conversation = await rest.open()
    body = {"content": "hi", "client_msg_id": str(uuid4())}
    reply = await rest.post(
        f"{conversation}/messages", body, headers={"Idempotency-Key": str(uuid4())}
    )
    assert reply.bad_fields == {"client_msg_id"}
    assert (await rest.get(f"{conversation}/messages")).json == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ({"content": " \u200b"}, "content"),
        ({"content": "a\0b"}, "content"),
        ({"content": "x" * 5001}, "content"),
        ({"content": None}, "content"),
        ({"content": ["hi"]}, "content"),
        ({"content": "hi", "message_type": "video"}, "message_type"),
        ({"content": "hi", "message_type": "image"}, "media_url"),
        ({"message_type": "image", "media_url": "https://elsewhere.example/"}, "media_url"),
        ({"content": "hi", "attachment_id": KEY}, "attachment_id"),
        ({"content": "hi", "client_msg_id": 7}, "client_msg_id"),
        ({"content": "hi", "reply_to_seq": 0}, "reply_to_seq"),
        ({"content": "hi", "reply_to_seq": 1.5}, "reply_to_seq"),
        ({"content": "hi", "reply_to_seq": "1"}, "reply_to_seq"),
        ({"content": "hi", "reply_to_seq": True}, "reply_to_seq"),
        ({"content": "hi", "reply_to_seq": 1}, "reply_to_seq"),
        ({"content": "hi", "reply_to_seq": 2**64}, "reply_to_seq"),
        ({"content": "hi", "sender_id": str(LANDLORD.id)}, "sender_id"),
        ({"content": "hi", "seq": 5}, "seq"),
        ({"content": "hi", "status": "read"}, "status"),
        ({"content": "hi", "created_at": "2026-01-01T00:00:00Z"}, "created_at"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    rest: Rest, body: dict[str, Any], field: str
) -> None:
    conversation = await rest.open()
    assert (await rest.post(f"{conversation}/messages", body)).bad_fields == {field}
    assert (await rest.get(f"{conversation}/messages")).json == []


async def test_system_messages_are_for_the_host_application(rest: Rest) -> None:
    conversation = await rest.open()
    body = {"content": "The visit is on Friday.", "message_type": "system"}
    refused = await rest.post(f"{conversation}/messages", body)
    assert refused.outcome == (403, "forbidden")
    assert (await rest.post(f"{conversation}/messages", body, user=SERVICE)).status == 201


async def test_a_closed_conversation_takes_nothing(rest: Rest) -> None:
    conversation = await rest.open()
    message = f"{API}/messages/{(await rest.send(conversation))['id']}"
    await rest.sql(
        "UPDATE chat.conversations SET is_active = false WHERE id = :id",
        id=conversation.rpartition("/")[2],
    )
    refused = (
        await rest.post(f"{conversation}/messages", {"content": "hi"}),
        await rest.patch(message, {"content": "hi"}),
        await rest.delete(message),
    )
    assert {each.outcome for each in refused} == {(403, "forbidden")}


async def test_too_many_messages_are_told_when_to_come_back(start: Start) -> None:
    rest = await start(rate_limit__messages="2/minute")
    conversation = await rest.open()
    sent = [await rest.send(conversation) for _ in range(2)]
    refusals = (
        await rest.post(f"{conversation}/messages", {"content": "hi"}),
        await rest.patch(f"{API}/messages/{sent[0]['id']}", {"content": "hi"}),
    )
    for refused in refusals:
        assert refused.outcome == (429, "rate_limited")
        assert refused.json["retryable"] is True
        assert 0 < refused.json["retry_after"] <= int(refused.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("query", ["", "&after_seq=0"])
async def test_links_lead_through_the_whole_history(rest: Rest, query: str) -> None:
    conversation = await rest.open()
    for number in range(7):
        await rest.send(conversation, f"{number}")
    pages = await follow(rest, f"{conversation}/messages?limit=3{query}")
    assert [len(page) for page in pages] == [3, 3, 1]
    seqs = [message["seq"] for page in pages for message in page]
    assert seqs == (list(range(1, 8)) if query else list(range(7, 0, -1)))


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("before_seq=3", [2, 1]),
        ("after_seq=3", [4, 5]),
        ("after_seq=5", []),
        ("before_seq=0", []),
        ("skip=1&limit=2", [4, 3]),
        ("after_seq=1&skip=1&limit=2", [3, 4]),
    ],
)
async def test_history_is_bounded_by_numbers(rest: Rest, query: str, seqs: list[int]) -> None:
    conversation = await rest.open()
    for number in range(5):
        await rest.send(conversation, f"{number}")
    reply = await rest.get(f"{conversation}/messages?{query}")
    assert [message["seq"] for message in reply.json] == seqs


async def test_history_before_a_time_goes_on_by_number(rest: Rest) -> None:
    conversation = await rest.open()
    sent = [await rest.send(conversation) for _ in range(5)]
    reply = await rest.get(
        f"{conversation}/messages", params={"before": sent[3]["created_at"], "limit": 2}
    )
    assert [message["seq"] for message in reply.json] == [3, 2]
    assert reply.next == f"{conversation.removesuffix('/')}/messages?limit=2&before_seq=2"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("before_seq=3&after_seq=3", {"after_seq"}),
        ("before=2026-01-01T00:00:00Z&before_seq=3", {"before_seq"}),
        ("before=yesterday", {"before"}),
        ("before=0001-01-01T00:00:00%2B23:59", {"before"}),
        ("before=9999-12-31T23:59:59-23:59", {"before"}),
        ("before_seq=-1", {"before_seq"}),
        ("before_seq=1_0", {"before_seq"}),
        ("after_seq=9007199254740992", {"after_seq"}),
        ("limit=0", {"limit"}),
        ("limit=-1", {"limit"}),
        ("limit=101", {"limit"}),
        ("limit=" + "9" * 5000, {"limit"}),
        ("limit=2.0", {"limit"}),
        ("limit=%D9%A3", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=1&limit=1", {"limit"}),
        ("skip=-1", {"skip"}),
        ("since=1", {"since"}),
    ],
)
async def test_a_bad_parameter_is_named(rest: Rest, query: str, fields: set[str]) -> None:
    conversation = await rest.open()
    assert (await rest.get(f"{conversation}/messages?{query}")).bad_fields == fields


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_reading_a_message_reads_every_earlier_one(rest: Rest, method: str) -> None:
    conversation = await rest.open()
    sent = [await rest.send(conversation) for _ in range(3)]
    path = f"{API}/messages/{sent[1]['id']}/read"
    reply = await rest.call(method, path, user=rest.landlord)
    assert (reply.status, reply.json) == (200, {"status": "success", "message_id": sent[1]["id"]})
    history = (await rest.get(f"{conversation}/messages")).json
    assert [message["status"] for message in history] == ["sent", "read", "read"]
    assert (await rest.get(f"{API}/unread-count", user=rest.landlord)).json == {"unread_count": 1}


async def test_only_participants_read(rest: Rest) -> None:
    message = await rest.send(await rest.open())
    reply = await rest.patch(f"{API}/messages/{message['id']}/read", user=ADMIN)
    assert reply.outcome == (403, "forbidden")


async def test_the_sender_edits_a_message(rest: Rest) -> None:
    message = await rest.send(await rest.open())
    reply = await rest.patch(f"{API}/messages/{message['id']}", {"content": "bye"})
    assert reply.status == 200
    assert (reply.json["content"], reply.json["seq"], reply.json["rev"]) == ("bye", 1, 2)
    assert reply.json["edited_at"] is not None


async def test_an_edit_needs_the_new_text(rest: Rest) -> None:
    message = await rest.send(await rest.open())
    for body in ({}, {"content": " "}, {"content": None}):
        reply = await rest.patch(f"{API}/messages/{message['id']}", body)
        assert reply.bad_fields == {"content"}


async def test_an_edit_after_the_window_is_forbidden(start: Start) -> None:
    rest = await start(messages__edit_window=0.0)
    message = await rest.send(await rest.open())
    reply = await rest.patch(f"{API}/messages/{message['id']}", {"content": "bye"})
    assert reply.outcome == (403, "forbidden")


async def test_the_sender_deletes_a_message_and_its_number_stays(rest: Rest) -> None:
    conversation = await rest.open()
    message = await rest.send(conversation)
    for _ in range(2):
        reply = await rest.delete(f"{API}/messages/{message['id']}")
        assert (reply.status, reply.content) == (204, b"")
        assert "Content-Type" not in reply.headers
    (tombstone,) = (await rest.get(f"{conversation}/messages")).json
    assert (tombstone["seq"], tombstone["content"], tombstone["is_deleted"]) == (1, "", True)


async def test_nobody_changes_anothers_message(rest: Rest) -> None:
    message = await rest.send(await rest.open())
    path = f"{API}/messages/{message['id']}"
    edited = await rest.patch(path, {"content": "bye"}, user=rest.landlord)
    deleted = await rest.delete(path, user=rest.landlord)
    assert edited.outcome == deleted.outcome == (403, "forbidden")


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("PATCH", "", {"content": "x"}),
        ("DELETE", "", None),
        ("PATCH", "/read", None),
        ("POST", "/read", None),
    ],
)
async def test_a_strangers_answer_is_that_of_what_does_not_exist(
    rest: Rest, method: str, suffix: str, body: Any
) -> None:
    message = await rest.send(await rest.open())
    options: dict[str, Any] = {"user": rest.stranger, "json": body}
    theirs = await rest.call(method, f"{API}/messages/{message['id']}{suffix}", **options)
    nothing = await rest.call(method, f"{API}/messages/{unknown_id()}{suffix}", **options)
    assert theirs.outcome == nothing.outcome == (404, "not_found")
    assert without_request_id(theirs) == without_request_id(nothing)


async def test_a_stranger_cannot_send(rest: Rest) -> None:
    conversation = await rest.open()
    reply = await rest.post(f"{conversation}/messages", {"content": "hello"}, user=rest.stranger)
    assert reply.outcome == (404, "not_found")
    assert (await rest.get(f"{conversation}/messages")).json == []
