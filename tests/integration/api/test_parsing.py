"""Hostile and broken requests: each gets its answer, none a 500."""

import gzip
import json
from typing import Any

import orjson
import pytest
from aiohttp import web
from yarl import URL

from chatserver.dev.demo import DEMO_LISTINGS
from chatserver.errors import InvalidPayload
from chatserver.http.problems import from_http, problem
from tests.integration.api.rest import API, Reply, Rest

CONVERSATIONS = f"{API}/conversations"
OPENED = (200, 201)
# 0001-01-01T00:00:00+23:59, which is no time in UTC, and an id.
LISTING = str(DEMO_LISTINGS[0].id)
FIRST_DAY = "MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSAwMDAwMDAwMC0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDE%3D"
JSON = {"Content-Type": "application/json"}


async def post_raw(rest: Rest, body: bytes | Any, headers: dict[str, str] = JSON) -> Reply:
    return await rest.call("POST", CONVERSATIONS, data=body, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"'single'",
        b"{listing_id: 1}",
        b'{"listing_id": NaN}',
        b'{"listing_id": Infinity}',
        b'{"listing_id": 1e999}',
        b'{"listing_id": -1e999}',
        b'{"listing_id": "\\ud800"}',
        b'{"listing_id": "\xed\xa0\x80"}',
        b'{"listing_id": "\xff\xfe"}',
        b'{"listing_id": "tab\there"}',
        b'\xef\xbb\xbf{"listing_id": "x"}',
        b'{"listing_id": "x"} trailing',
        b'{"listing_id": "x",}',
        b"\0",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        json.dumps({"listing_id": LISTING}).encode("utf-16"),
    ],
)
async def test_what_is_no_json_is_an_invalid_payload(rest: Rest, body: bytes) -> None:
    reply = await post_raw(rest, body)
    assert reply.outcome == (422, "invalid_payload")
    assert reply.json["detail"] == "The body is not valid JSON."


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"5", b"true", b"[{}]"])
async def test_what_is_no_object_is_an_invalid_payload(rest: Rest, body: bytes) -> None:
    assert (await post_raw(rest, body)).bad_fields == {"_schema"}


async def test_of_duplicate_keys_the_last_one_counts(rest: Rest) -> None:
    reply = await post_raw(rest, f'{{"listing_id": 5, "listing_id": "{rest.listing}"}}'.encode())
    assert reply.status in OPENED


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_empty_body_is_an_empty_object(rest: Rest, body: bytes) -> None:
    assert (await post_raw(rest, body)).bad_fields == {"listing_id"}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/octet-stream",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
        "nonsense",
        "",
    ],
)
async def test_a_body_of_another_media_type_is_refused(rest: Rest, content_type: str) -> None:
    body = json.dumps({"listing_id": rest.listing}).encode()
    reply = await post_raw(rest, body, {"Content-Type": content_type})
    assert reply.outcome == (415, "unsupported_media")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"']
)
async def test_json_may_name_its_charset(rest: Rest, content_type: str) -> None:
    body = json.dumps({"listing_id": rest.listing}).encode()
    assert (await post_raw(rest, body, {"Content-Type": content_type})).status in OPENED


async def test_a_body_that_is_too_large_is_refused_announced_or_not(rest: Rest) -> None:
    limit = rest.node.settings.server.max_body_bytes
    exact = json.dumps({"listing_id": rest.listing}).encode().ljust(limit)
    assert (await post_raw(rest, exact)).status in OPENED
    assert (await post_raw(rest, exact + b" ")).outcome == (413, "payload_too_large")

    async def chunks() -> Any:
        for _ in range(limit // 1024 + 1):
            yield b" " * 1024

    assert (await post_raw(rest, chunks())).outcome == (413, "payload_too_large")


async def test_a_compressed_body_is_read_but_no_bomb(rest: Rest) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"listing_id": rest.listing}).encode())
    assert (await post_raw(rest, body, headers)).status in OPENED
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < rest.node.settings.server.max_body_bytes
    assert (await post_raw(rest, bomb, headers)).outcome == (413, "payload_too_large")


async def test_a_body_that_is_badly_compressed_is_an_invalid_payload(rest: Rest) -> None:
    reply = await post_raw(rest, b"this is no gzip", {**JSON, "Content-Encoding": "gzip"})
    assert reply.outcome == (422, "invalid_payload")


@pytest.mark.parametrize(
    "name", ["5", "x", "%00", "%FF", "..%2F..", "%27%20OR%201=1", "{}", "urn:uuid:" + LISTING,
             LISTING.replace("-", ""), LISTING + "0", "%D9%A3" * 8]
)  # fmt: skip
async def test_an_id_that_is_no_uuid_is_not_found(rest: Rest, name: str) -> None:
    for path in (f"{CONVERSATIONS}/{name}", f"{API}/users/{name}/presence"):
        reply = await rest.get(URL(path, encoded=True))  # type: ignore[arg-type]
        assert reply.outcome == (404, "not_found")


async def test_an_id_may_be_in_upper_case(rest: Rest) -> None:
    conversation = await rest.open()
    prefix, _, name = conversation.rpartition("/")
    assert (await rest.get(f"{prefix}/{name.upper()}")).status == 200


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", {"limit"}),
        ("limit=101&skip=-1", {"limit", "skip"}),
        ("skip=1000001", {"skip"}),
        ("archived=maybe", {"archived"}),
        ("cursor=x", {"cursor"}),
        ("cursor=%C3%A9", {"cursor"}),
        ("cursor=" + FIRST_DAY, {"cursor"}),
        ("cursor=", {"cursor"}),
        ("user_id=1", {"user_id"}),
        ("limit=1&limit=2&x=1", {"limit"}),
        ("%00=1", {"\0"}),
        ("token=x", {"token"}),
    ],
)
async def test_a_bad_query_names_each_parameter(rest: Rest, query: str, fields: set[str]) -> None:
    assert (await rest.get(f"{CONVERSATIONS}?{query}")).bad_fields == fields


async def test_routes_without_a_query_refuse_one(rest: Rest) -> None:
    assert (await rest.get(f"{API}/unread-count?x=1")).bad_fields == {"x"}


async def test_a_long_made_up_name_is_not_repeated_in_full(rest: Rest) -> None:
    reply = await rest.post(CONVERSATIONS, {"listing_id": rest.listing, "x" * 10_000: 1})
    assert {len(name) for name in reply.bad_fields} == {100}


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer x", "Bearer a.b.c", "x",
        "Token {token}", "Bearer {token}x", "Bearer{token}", "Bearer {token} {token}",
        "Bearer " + "x" * 7000,
    ],
)  # fmt: skip
async def test_every_bad_token_gets_the_same_answer(rest: Rest, authorization: str | None) -> None:
    nobody = await rest.get(f"{API}/unread-count", user=None)
    headers = {} if authorization is None else {"Authorization": authorization}
    headers = {name: text.format(token=rest.token(rest.tenant)) for name, text in headers.items()}
    reply = await rest.get(f"{API}/unread-count", user=None, headers=headers)
    assert reply.outcome == (401, "unauthorized")
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert reply.json | {"request_id": ""} == nobody.json | {"request_id": ""}


async def test_the_scheme_of_a_token_is_written_in_any_case(rest: Rest) -> None:
    headers = {"Authorization": f"bEARER  {rest.token(rest.landlord)}"}
    assert (await rest.get(f"{API}/unread-count", user=None, headers=headers)).status == 200


async def test_a_token_in_the_query_is_none(rest: Rest) -> None:
    token = rest.token(rest.tenant)
    reply = await rest.get(f"{API}/unread-count?token={token}", user=None)
    assert reply.outcome == (401, "unauthorized")


async def test_strangers_do_not_learn_what_is_wrong_with_their_request(rest: Rest) -> None:
    for path in (
        f"{CONVERSATIONS}?limit=0",
        f"{CONVERSATIONS}/x",
        f"{CONVERSATIONS}/{rest.listing}",
    ):
        assert (await rest.get(path, user=None)).outcome == (401, "unauthorized")


async def test_names_that_are_no_text_can_still_be_told() -> None:
    reply = problem(InvalidPayload(fields={"\udcff": ["Unknown field."]}), "id")
    assert orjson.loads(orjson.dumps(reply))["fields"] == {"?": ["Unknown field."]}


async def test_every_invalid_payload_says_which_fields_if_only_that_it_is_none(rest: Rest) -> None:
    conversation = await rest.open()
    for options, fields in (
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, set()),
        ({"json": {"content": ""}}, {"content"}),
        ({"json": {"content": 1, "extra": 2}}, {"content", "extra"}),
        ({"json": {"content": "hi", "reply_to_seq": 9}}, {"reply_to_seq"}),
        ({"json": {"content": "hi", "media_url": "x"}}, {"media_url"}),
    ):
        reply = await rest.call("POST", f"{conversation}/messages", **options)
        assert reply.bad_fields == fields
    cursor = await rest.get(f"{API}/sync?cursor={'a' * 5000}")
    assert cursor.bad_fields == {"cursor"}
    refused_by_aiohttp, _ = from_http(web.HTTPBadRequest())
    assert refused_by_aiohttp.to_dict()["fields"] == {}
