"""Whose word about the client's address and the server's name is believed."""

import pytest

from chatserver.http.proxies import UNKNOWN, TrustedProxies, address_block, own_origin

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1,192.0.2.7 , 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, "], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db9::1]:4711"], "2001:db9::1"),
        ("10.0.0.1", ["[2001:db9::1]"], "2001:db9::1"),
        ("10.0.0.1", ["2001:DB9:0::1"], "2001:db9::1"),
        ("2001:db8::1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, ["198.51.100.1"], UNKNOWN),
        ("", ["198.51.100.1"], UNKNOWN),
    ],
)
def test_the_clients_address_is_the_last_that_a_trusted_proxy_vouches_for(
    peer: str | None, forwarded_for: list[str], address: str
) -> None:
    assert PROXIES.client_address(peer, forwarded_for) == address


def test_nobody_is_trusted_where_nobody_is_listed() -> None:
    assert not TrustedProxies([]).trusts("127.0.0.1")
    assert TrustedProxies([]).client_address("127.0.0.1", ["6.6.6.6"]) == "127.0.0.1"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "example.org", ""])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrustedProxies([network])


@pytest.mark.parametrize(
    ("peer", "proto", "host", "origin"),
    [
        ("203.0.113.5", [], [], "http://chat:8080"),
        ("203.0.113.5", ["https"], ["evil.example"], "http://chat:8080"),
        (None, ["https"], ["evil.example"], "http://chat:8080"),
        ("10.0.0.1", [], [], "http://chat:8080"),
        ("10.0.0.1", ["https"], [], "https://chat:8080"),
        ("10.0.0.1", ["HTTPS"], ["Chat.Example.org:443"], "https://chat.example.org"),
        ("10.0.0.1", ["http, https"], ["evil.example, chat.example"], "https://chat.example"),
        ("10.0.0.1", ["http", "https"], ["evil.example", "chat.example"], "https://chat.example"),
        ("10.0.0.1", ["gopher"], ["chat.example"], "http://chat.example"),
        ("10.0.0.1", [""], [""], "http://chat:8080"),
    ],
)
def test_a_servers_origin_is_what_a_trusted_proxy_says(
    peer: str | None, proto: list[str], host: list[str], origin: str
) -> None:
    found = PROXIES.origin(peer, "http", "chat:8080", forwarded_proto=proto, forwarded_host=host)
    assert found == origin


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "Chat.Example", "http://chat.example"),
        ("http", "chat.example:80", "http://chat.example"),
        ("https", "chat.example:443", "https://chat.example"),
        ("https", "chat.example:80", "https://chat.example:80"),
        ("http", "[::1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_spelt_as_browsers_do(scheme: str, host: str, origin: str) -> None:
    assert own_origin(scheme, host) == origin


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::1", "::/64"),
        (UNKNOWN, ""),
    ],
)
def test_a_block_is_what_one_customer_has(address: str, block: str) -> None:
    assert address_block(address) == block


@pytest.mark.parametrize(
    ("trusted", "peer", "may_be"),
    [
        # Where no proxy is named, whoever forwards may be one.
        ((), "10.0.0.1", True),
        ((), "203.0.113.9", True),
        ((), None, False),
        # Where some are, another one of the same network may have been forgotten; somebody
        # from outside, who writes the header to escape the limit, is none.
        (("10.0.0.1",), "10.0.0.1", False),
        (("10.0.0.1",), "10.0.0.2", True),
        (("10.0.0.1",), "fd00::2", True),
        (("10.0.0.1",), "93.184.216.34", False),
        (("10.0.0.1",), "2001:4860::9", False),
    ],
)
def test_a_proxy_may_have_been_forgotten(
    trusted: tuple[str, ...], peer: str | None, may_be: bool
) -> None:
    assert TrustedProxies(trusted).may_be_proxy(peer) is may_be
