"""How the key set is fetched: no redirect, no endless body, no wrong status."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientError

from chatserver.api.jwks_fetch import JwksFetchError
from chatserver.auth.jwks import MAX_KEY_SET_BYTES, Fetch
from tests.kit.jwks import JwksServer, running_jwks_server

Host = tuple[JwksServer, Fetch]


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with running_jwks_server() as host:
        yield host


async def test_the_body_is_what_the_server_sent(host: Host) -> None:
    jwks, fetch = host
    jwks.keys = [{"kid": "one"}]
    assert json.loads(await fetch(jwks.url)) == {"keys": [{"kid": "one"}]}


async def test_a_redirect_is_not_followed(host: Host) -> None:
    jwks, fetch = host
    jwks.status, jwks.headers = 302, {"Location": "/elsewhere"}
    with pytest.raises(JwksFetchError, match="302"):
        await fetch(jwks.url)
    assert jwks.other_requests == 0


@pytest.mark.parametrize("status", [204, 404, 500])
async def test_any_status_but_200_is_an_error(host: Host, status: int) -> None:
    jwks, fetch = host
    jwks.status = status
    with pytest.raises(JwksFetchError, match=str(status)):
        await fetch(jwks.url)


async def test_a_body_up_to_the_limit_is_read_and_one_byte_more_is_not(host: Host) -> None:
    jwks, fetch = host
    jwks.body = b" " * MAX_KEY_SET_BYTES
    assert len(await fetch(jwks.url)) == MAX_KEY_SET_BYTES
    jwks.body += b" "
    with pytest.raises(JwksFetchError, match="too large"):
        await fetch(jwks.url)


async def test_a_server_that_is_away_is_an_error(host: Host) -> None:
    _, fetch = host
    with pytest.raises(ClientError):
        await fetch("http://127.0.0.1:1/jwks.json")
