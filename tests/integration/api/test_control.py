"""Revocations and notices over REST: who may, what is taken, what is answered."""

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest

from chatserver.auth.tokens import issue
from chatserver.dev.demo import ADMIN, AGENT, LANDLORD, SERVICE, TENANT, DemoUser
from chatserver.errors import Unauthorized
from tests.integration.api.rest import API, Reply, Rest, unknown_id

REVOCATIONS, NOTICES, COUNT = f"{API}/revocations", f"{API}/notices", f"{API}/unread-count"
REVOKE: dict[str, Any] = {"jti": "it"}
NOTICE: dict[str, Any] = {"content": "Hello"}

each_route = pytest.mark.parametrize(("path", "body"), [(REVOCATIONS, REVOKE), (NOTICES, NOTICE)])


async def ask(rest: Rest, user: DemoUser, token_id: str | None) -> Reply:
    """A question with a token that has this id."""
    secret = rest.node.settings.jwt.secret
    token = issue(secret, user.id, user.role, 600, token_id=token_id)
    return await rest.get(COUNT, user=None, headers={"Authorization": f"Bearer {token}"})


async def nonsense(rest: Rest) -> Reply:
    return await rest.get(COUNT, user=None, headers={"Authorization": "Bearer nonsense"})


def told(reply: Reply) -> dict[str, Any]:
    return {name: value for name, value in reply.json.items() if name != "request_id"}


# Revocations


@pytest.mark.parametrize("user", [ADMIN, SERVICE], ids=["admin", "service"])
async def test_a_revoked_token_is_refused_with_the_one_answer_to_bad_tokens(
    rest: Rest, user: DemoUser
) -> None:
    it = str(uuid4())
    assert (await ask(rest, rest.tenant, it)).status == 200
    reply = await rest.post(REVOCATIONS, {"jti": it}, user=user)
    assert reply.status == 201
    assert reply.headers["Location"] == f"{REVOCATIONS}/{reply.json['id']}"
    assert (reply.json["jti"], reply.json["user_id"], reply.json["expires_at"]) == (
        it,
        None,
        None,
    )
    refused = await ask(rest, rest.tenant, it)
    assert refused.outcome == (401, Unauthorized.code)
    assert told(refused) == told(await nonsense(rest))
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert (await ask(rest, rest.tenant, "another")).status == 200


async def test_a_repeat_answers_the_first(rest: Rest) -> None:
    revoke = {"jti": str(uuid4())}
    first = await rest.post(REVOCATIONS, revoke, user=ADMIN)
    again = await rest.post(REVOCATIONS, revoke | {"user_id": None}, user=ADMIN)
    assert (again.status, again.json) == (200, first.json)
    assert "Location" not in again.headers


async def test_a_revoked_user_needs_a_token_from_after_it(rest: Rest) -> None:
    reply = await rest.post(REVOCATIONS, {"user_id": str(rest.tenant.id)}, user=SERVICE)
    assert (reply.status, reply.json["user_id"]) == (201, str(rest.tenant.id))
    assert (await ask(rest, rest.tenant, None)).outcome == (401, "unauthorized")
    assert (await ask(rest, rest.landlord, None)).status == 200
    now = int(time.time())
    claims = {"sub": str(rest.tenant.id), "exp": now + 7200, "iat": now + 3600}
    later = jwt.encode(claims, rest.node.settings.jwt.secret, "HS256")
    headers = {"Authorization": f"Bearer {later}"}
    assert (await rest.get(COUNT, user=None, headers=headers)).status == 200


async def test_a_revocation_can_be_lifted_once(rest: Rest) -> None:
    reply = await rest.post(REVOCATIONS, {"user_id": str(rest.tenant.id)}, user=ADMIN)
    path = f"{REVOCATIONS}/{reply.json['id']}"
    lifted = await rest.delete(path, user=ADMIN)
    assert (lifted.status, lifted.content) == (204, b"")
    assert (await ask(rest, rest.tenant, None)).status == 200
    for gone in (path, f"{REVOCATIONS}/{unknown_id()}", f"{REVOCATIONS}/it"):
        assert (await rest.delete(gone, user=ADMIN)).outcome == (404, "not_found")


@pytest.mark.parametrize("user", [TENANT, LANDLORD, AGENT], ids=["client", "owner", "agent"])
async def test_others_may_neither_revoke_nor_lift_nor_announce(rest: Rest, user: DemoUser) -> None:
    reply = await rest.post(REVOCATIONS, REVOKE, user=ADMIN)
    for path in (f"{REVOCATIONS}/{reply.json['id']}", f"{REVOCATIONS}/{unknown_id()}"):
        assert (await rest.delete(path, user=user)).outcome == (403, "forbidden")
    for path, body in ((REVOCATIONS, REVOKE), (NOTICES, NOTICE)):
        assert (await rest.post(path, body, user=user)).outcome == (403, "forbidden")
    assert (await ask(rest, rest.tenant, "it")).status == 401


@each_route
async def test_strangers_get_no_further_than_their_token(
    rest: Rest, path: str, body: dict[str, Any]
) -> None:
    assert (await rest.post(path, body, user=None)).outcome == (401, "unauthorized")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"jti", "user_id"}),
        ({"jti": None, "user_id": None}, {"jti", "user_id"}),
        ({"jti": "it", "user_id": str(TENANT.id)}, {"jti", "user_id"}),
        ({"jti": ""}, {"jti"}),
        ({"jti": 7}, {"jti"}),
        ({"jti": "x" * 256}, {"jti"}),
        ({"jti": "a\0b"}, {"jti"}),
        ({"jti": "a\nb"}, {"jti"}),
        ({"user_id": "me"}, {"user_id"}),
        ({"user_id": [str(TENANT.id)]}, {"user_id"}),
        ({"jti": "it", "expires_at": "soon"}, {"expires_at"}),
        ({"jti": "it", "expires_at": "2020-01-01T00:00:00Z"}, {"expires_at"}),
        ({"jti": "it", "expires_at": "0001-01-01T00:00:00+23:59"}, {"expires_at"}),
        ({"jti": "it", "revoked_at": "2030-01-01T00:00:00Z"}, {"revoked_at"}),
    ],
)
async def test_a_bad_revocation_is_refused_and_names_its_fields(
    rest: Rest, body: dict[str, Any], fields: set[str]
) -> None:
    assert (await rest.post(REVOCATIONS, body, user=ADMIN)).bad_fields == fields


async def test_the_end_may_be_any_time_to_come(rest: Rest) -> None:
    it, end = str(uuid4()), "9999-12-31T23:59:59.999999Z"
    reply = await rest.post(REVOCATIONS, {"jti": it, "expires_at": end}, user=ADMIN)
    assert (reply.status, reply.json["expires_at"]) == (201, end)
    assert (await ask(rest, rest.tenant, it)).status == 401


# Notices


async def test_a_notice_is_accepted(rest: Rest) -> None:
    for extra in ({}, {"data": None, "user_ids": None}, {"user_ids": [str(rest.stranger.id)]}):
        reply = await rest.post(NOTICES, NOTICE | extra, user=SERVICE)
        assert (reply.status, reply.json) == (202, {"status": "accepted"})


def nested(depth: int) -> dict[str, Any]:
    value: Any = {}
    for _ in range(depth - 2):
        value = [value]
    return {"it": value}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"content"}),
        ({"content": ""}, {"content"}),
        ({"content": " \u200b"}, {"content"}),
        ({"content": "<b></b>"}, {"content"}),
        ({"content": "a" * 2001}, {"content"}),
        ({"content": "a\0b"}, {"content"}),
        ({"content": None}, {"content"}),
        ({"content": "x", "data": []}, {"data"}),
        ({"content": "x", "data": {"it": "x" * 4096}}, {"data"}),
        ({"content": "x", "data": nested(21)}, {"data"}),
        ({"content": "x", "data": nested(900)}, {"data"}),
        ({"content": "x", "user_ids": []}, {"user_ids"}),
        ({"content": "x", "user_ids": ["me"]}, {"user_ids.0"}),
        ({"content": "x", "user_ids": [str(TENANT.id)] * 1001}, {"user_ids"}),
        ({"content": "x", "timestamp": "2030-01-01T00:00:00Z"}, {"timestamp"}),
    ],
)
async def test_a_bad_notice_is_refused_and_names_its_fields(
    rest: Rest, body: dict[str, Any], fields: set[str]
) -> None:
    assert (await rest.post(NOTICES, body, user=ADMIN)).bad_fields == fields


async def test_a_notice_may_be_as_large_as_it_says(rest: Rest) -> None:
    body = {
        "content": "á" * 2000,
        "data": {"it": "x" * (4096 - len('{"it":""}'))},
        "user_ids": [str(unknown_id()) for _ in range(1000)],
    }
    assert (await rest.post(NOTICES, body, user=ADMIN)).status == 202
    deep = {"content": "x", "data": nested(20)}
    assert (await rest.post(NOTICES, deep, user=ADMIN)).status == 202
