"""Which pages may call the REST edge, and what their browsers are told."""

import pytest

from tests.integration.api.conftest import Start
from tests.integration.api.rest import API, Reply, Rest

PARTNER = "https://www.partner.example"
PATH = f"{API}/conversations"


def is_open_to(reply: Reply, origin: str) -> bool:
    return reply.headers.get("Access-Control-Allow-Origin") == origin


def has_no_cors(reply: Reply) -> bool:
    return not any(name.lower().startswith("access-control-") for name in reply.headers)


async def test_a_configured_origin_may_read_the_answers(start: Start) -> None:
    rest = await start(cors__origins=(PARTNER,))
    reply = await rest.get(PATH, headers={"Origin": PARTNER})
    assert reply.status == 200
    assert is_open_to(reply, PARTNER)
    assert reply.headers["Access-Control-Allow-Credentials"] == "true"
    assert set(reply.headers["Access-Control-Expose-Headers"].split(",")) == {
        "Link", "Location", "Retry-After", "X-Request-ID",
    }  # fmt: skip
    assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["capacitor://localhost", "http://tauri.localhost", "null"])
async def test_a_configured_web_view_may_read_the_answers(start: Start, origin: str) -> None:
    rest = await start(cors__origins=(origin,))
    headers = {"Origin": origin}
    reply = await rest.get(PATH, headers=headers)
    preflight = await rest.call(
        "OPTIONS", PATH, user=None, headers={**headers, "Access-Control-Request-Method": "GET"}
    )
    assert (reply.status, preflight.status) == (200, 200)
    assert is_open_to(reply, origin)
    assert is_open_to(preflight, origin)


async def test_a_configured_origin_may_read_errors_too(start: Start) -> None:
    rest = await start(cors__origins=(PARTNER,))
    reply = await rest.get(PATH, user=None, headers={"Origin": PARTNER})
    assert reply.outcome == (401, "unauthorized")
    assert is_open_to(reply, PARTNER)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_preflight_allows_what_the_api_needs(start: Start, method: str) -> None:
    rest = await start(cors__origins=(PARTNER,))
    headers = {
        "Origin": PARTNER,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,x-request-id",
    }
    reply = await rest.call("OPTIONS", PATH, user=None, headers=headers)
    assert reply.status == 200
    assert is_open_to(reply, PARTNER)
    assert reply.headers["Access-Control-Allow-Methods"] == method
    assert reply.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    ("method", "wanted"), [("PUT", "authorization"), ("GET", "x-forwarded-host")]
)
async def test_a_preflight_for_anything_else_is_refused(
    start: Start, method: str, wanted: str
) -> None:
    rest = await start(cors__origins=(PARTNER,))
    headers = {
        "Origin": PARTNER,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": wanted,
    }
    reply = await rest.call("OPTIONS", PATH, user=None, headers=headers)
    assert reply.outcome == (403, "forbidden")
    assert has_no_cors(reply)


async def test_the_servers_own_pages_may_call(rest: Rest) -> None:
    assert (await rest.get(PATH, headers={"Origin": rest.origin})).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        PARTNER + ".evil.example",
        PARTNER + ":8443",
        PARTNER + "/",
        PARTNER.upper(),
        PARTNER.replace("https", "http"),
        PARTNER.replace("www", "evil-www"),
        f"{PARTNER} {PARTNER}",
        "http://127.0.0.1",
        "file://",
        "*",
    ],
)
async def test_pages_of_other_origins_are_refused_and_change_nothing(
    start: Start, origin: str
) -> None:
    rest = await start(cors__origins=(PARTNER,))
    headers = {"Origin": origin}
    reply = await rest.post(PATH, {"listing_id": rest.listing}, headers=headers)
    preflight = await rest.call(
        "OPTIONS", PATH, user=None, headers={**headers, "Access-Control-Request-Method": "POST"}
    )
    assert reply.outcome == preflight.outcome == (403, "forbidden")
    assert has_no_cors(reply)
    assert has_no_cors(preflight)
    assert (await rest.get(PATH)).json == []


async def test_a_forged_forwarded_host_makes_no_origin_ones_own(rest: Rest) -> None:
    headers = {
        "Origin": "https://evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
    }
    reply = await rest.get(PATH, headers=headers)
    assert reply.outcome == (403, "forbidden")
    assert has_no_cors(reply)


async def test_behind_a_trusted_proxy_its_name_is_ones_own(start: Start) -> None:
    rest = await start(server__trusted_proxies=("127.0.0.0/8",))
    headers = {
        "Origin": "https://chat.example.org",
        "X-Forwarded-Host": "chat.example.org",
        "X-Forwarded-Proto": "https",
    }
    assert (await rest.get(PATH, headers=headers)).status == 200


async def test_programs_without_an_origin_may_call(rest: Rest) -> None:
    reply = await rest.get(PATH)
    assert reply.status == 200
    assert has_no_cors(reply)


@pytest.mark.parametrize("origin", [None, PARTNER])
async def test_options_that_is_no_preflight_tells_what_there_is(
    start: Start, origin: str | None
) -> None:
    rest = await start(cors__origins=(PARTNER,))
    headers = {} if origin is None else {"Origin": origin}
    for path, methods in (
        (PATH, "GET, HEAD, OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/api/docs", "GET, HEAD, OPTIONS"),
    ):
        reply = await rest.call("OPTIONS", path, user=None, headers=headers)
        assert (reply.status, reply.content) == (204, b"")
        assert reply.headers["Allow"] == methods
    unknown = await rest.call("OPTIONS", f"{API}/nothing", user=None, headers=headers)
    assert unknown.outcome == (404, "not_found")
    foreign = await rest.call(
        "OPTIONS", PATH, user=None, headers={"Origin": "https://evil.example"}
    )
    assert foreign.outcome == (403, "forbidden")
