"""Conversations over REST."""

import asyncio
from typing import Any

import pytest

from chatserver.dev.demo import ADMIN, SERVICE
from tests.integration.api.rest import API, Rest, follow, unknown_id, without_request_id

CONVERSATIONS = f"{API}/conversations"


async def test_opening_one_answers_201_and_where_it_is(rest: Rest) -> None:
    reply = await rest.post(CONVERSATIONS, {"listing_id": rest.listing})
    assert reply.status == 201
    assert reply.json["client_user_id"] == str(rest.tenant.id)
    assert reply.json["owner_user_id"] == str(rest.landlord.id)
    assert reply.headers["Location"] == f"{CONVERSATIONS}/{reply.json['id']}"
    assert (await rest.get(reply.headers["Location"])).json == reply.json


async def test_opening_it_again_answers_200_with_the_same(rest: Rest) -> None:
    first = await rest.post(CONVERSATIONS, {"listing_id": rest.listing})
    again = await rest.post(CONVERSATIONS, {"listing_id": rest.listing})
    assert (again.status, again.json) == (200, first.json)
    assert "Location" not in again.headers


async def test_opening_it_in_parallel_makes_one(rest: Rest) -> None:
    replies = await asyncio.gather(
        *(rest.post(CONVERSATIONS, {"listing_id": rest.listing}) for _ in range(10))
    )
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    assert len({reply.json["id"] for reply in replies}) == 1


async def test_an_unknown_listing_is_not_found(rest: Rest) -> None:
    reply = await rest.post(CONVERSATIONS, {"listing_id": str(unknown_id())})
    assert reply.outcome == (404, "not_found")


async def test_ones_own_listing_is_a_conflict(rest: Rest) -> None:
    reply = await rest.post(CONVERSATIONS, {"listing_id": rest.listing}, user=rest.landlord)
    assert reply.outcome == (409, "own_listing")


@pytest.mark.parametrize("body", [{}, {"listing_id": None}, {"listing_id": 5}, {"listing_id": "x"}])
async def test_a_listing_must_be_named_by_its_id(rest: Rest, body: dict[str, Any]) -> None:
    assert (await rest.post(CONVERSATIONS, body)).bad_fields == {"listing_id"}


async def test_the_list_has_the_latest_activity_first(rest: Rest) -> None:
    first, second, third = [await rest.open(await rest.add_listing()) for _ in range(3)]
    await rest.send(first)
    listed = (await rest.get(CONVERSATIONS)).json
    assert [f"{CONVERSATIONS}/{item['id']}" for item in listed] == [first, third, second]
    assert listed[0]["last_message"]["content"] == "hello"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
async def test_links_lead_through_the_whole_list(rest: Rest, size: int) -> None:
    opened = [await rest.open(await rest.add_listing()) for _ in range(5)]
    await rest.patch(f"{opened[0]}/archive")
    pages = await follow(rest, f"{CONVERSATIONS}?limit={size}&archived=true&skip=1")
    assert all(0 < len(page) <= size for page in pages)
    listed = [f"{CONVERSATIONS}/{item['id']}" for page in pages for item in page]
    assert listed == opened[-2::-1]


async def test_a_link_keeps_the_other_parameters_and_drops_the_skip(rest: Rest) -> None:
    for _ in range(4):
        await rest.open(await rest.add_listing())
    reply = await rest.get(f"{CONVERSATIONS}?archived=true&skip=1&limit=2")
    assert reply.next is not None
    path, _, query = reply.next.partition("?")
    assert path == CONVERSATIONS
    assert {part.partition("=")[0] for part in query.split("&")} == {"archived", "limit", "cursor"}


async def test_a_page_that_ends_the_list_has_no_link(rest: Rest) -> None:
    for _ in range(2):
        await rest.open(await rest.add_listing())
    assert (await rest.get(f"{CONVERSATIONS}?limit=2")).next is None
    assert (await rest.get(f"{CONVERSATIONS}?limit=1&skip=1")).next is None


@pytest.mark.parametrize("body", [None, {}, {"archived": True}])
async def test_archiving_hides_it_on_the_callers_side_alone(rest: Rest, body: Any) -> None:
    conversation = await rest.open()
    await rest.send(conversation)
    options = {} if body is None else {"json": body}
    reply = await rest.call("PATCH", f"{conversation}/archive", **options)
    assert (reply.status, reply.json) == (200, {"status": "success"})
    assert (await rest.get(CONVERSATIONS)).json == []
    assert len((await rest.get(f"{CONVERSATIONS}?archived=true")).json) == 1
    assert len((await rest.get(CONVERSATIONS, user=rest.landlord)).json) == 1


async def test_an_archived_one_comes_back_when_told_or_by_a_new_message(rest: Rest) -> None:
    conversation = await rest.open()
    await rest.patch(f"{conversation}/archive")
    await rest.patch(f"{conversation}/archive", {"archived": False})
    assert len((await rest.get(CONVERSATIONS)).json) == 1
    await rest.patch(f"{conversation}/archive")
    await rest.send(conversation, user=rest.landlord)
    assert len((await rest.get(CONVERSATIONS)).json) == 1


async def test_only_participants_archive(rest: Rest) -> None:
    conversation = await rest.open()
    reply = await rest.patch(f"{conversation}/archive", user=ADMIN)
    assert reply.outcome == (403, "forbidden")


async def test_the_host_application_reads_any_conversation(rest: Rest) -> None:
    conversation = await rest.open()
    for user in (ADMIN, SERVICE):
        assert (await rest.get(conversation, user=user)).status == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("PATCH", "/archive"), ("GET", "/messages")]
)
async def test_a_strangers_answer_is_that_of_what_does_not_exist(
    rest: Rest, method: str, path: str
) -> None:
    conversation = await rest.open()
    theirs = await rest.call(method, conversation + path, user=rest.stranger)
    nothing = await rest.call(method, f"{CONVERSATIONS}/{unknown_id()}{path}", user=rest.stranger)
    assert theirs.outcome == nothing.outcome == (404, "not_found")
    assert without_request_id(theirs) == without_request_id(nothing)
