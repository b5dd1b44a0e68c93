"""The decision which pages may call. As browsers meet it: tests/integration/api/test_cors.py."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from chatserver.http.origins import OriginPolicy

OWN = "https://chat.example.org"
POLICY = OriginPolicy(["https://www.example.org"])


@pytest.mark.parametrize("origin", [None, OWN, "https://www.example.org"])
def test_programs_ones_own_pages_and_configured_ones_may_call(origin: str | None) -> None:
    assert POLICY.allows(origin, OWN)


@pytest.mark.parametrize(
    "origin", ["", "null", "http://chat.example.org", "https://www.example.org.evil.example"]
)
def test_nobody_elses_pages_may_call(origin: str) -> None:
    assert not POLICY.allows(origin, OWN)


@pytest.mark.parametrize(
    "origin", ["wss://chat.example.org", "wss://chat.example.org:443", "wss://www.example.org"]
)
def test_the_scheme_of_a_websocket_stands_for_that_of_its_page(origin: str) -> None:
    assert POLICY.allows(origin, OWN)


@pytest.mark.parametrize(
    "origin",
    ["ws://chat.example.org", "wss://evil.example", "wss:chat.example.org", "wss", "wss://null"],
)
def test_the_scheme_of_a_websocket_opens_no_other_door(origin: str) -> None:
    assert not POLICY.allows(origin, OWN)


WEB_VIEWS = [
    "capacitor://localhost", "ionic://localhost", "app://localhost", "tauri://localhost",
    "http://tauri.localhost", "http://localhost", "file://", "null",
]  # fmt: skip


@pytest.mark.parametrize("origin", WEB_VIEWS)
def test_web_views_may_call_where_the_operator_lists_them(origin: str) -> None:
    assert not POLICY.allows(origin, OWN)
    assert OriginPolicy([origin]).allows(origin, OWN)


def test_a_request_with_two_origins_is_refused() -> None:
    origins = [("Origin", "https://www.example.org")] * 2
    assert POLICY.allows_request(make_mocked_request("GET", "/", CIMultiDict(origins[:1])))
    assert not POLICY.allows_request(make_mocked_request("GET", "/", CIMultiDict(origins)))


def test_a_request_without_a_host_has_no_own_origin() -> None:
    assert not POLICY.allows_request(
        make_mocked_request("GET", "/", CIMultiDict(Origin="http://x"))
    )


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "counted"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("2001:db8::1:2", None, "2001:db8::/64"),
        ("127.0.0.1", None, ""),
        ("10.0.0.9", None, ""),
        ("10.0.0.9", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.9", "127.0.0.5", "127.0.0.5"),
        ("172.16.0.1", "192.0.2.7", ""),  # a proxy that nobody named
        ("9.9.9.9", "198.51.100.1", "9.9.9.9"),  # forged; no private address
    ],
)
def test_sockets_are_counted_by_an_address_that_can_be_told(
    peer: str, forwarded_for: str | None, counted: str
) -> None:
    headers = CIMultiDict({} if forwarded_for is None else {"X-Forwarded-For": forwarded_for})
    request = make_mocked_request("GET", "/", headers).clone(remote=peer)
    assert OriginPolicy((), ["10.0.0.0/8"]).counted_address(request) == counted
