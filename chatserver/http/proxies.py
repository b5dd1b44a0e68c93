"""Addresses of clients whose requests may have come through proxies.

A proxy is believed only if its own address is a trusted one: then what it appended
to `X-Forwarded-*` is as good as what the connection says. Everything here takes
plain values; `chatserver.http.origins` reads them from requests.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

UNKNOWN = "unknown"
"""The address of a peer that has none, such as one on a Unix socket."""

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class TrustedProxies:
    """The addresses and networks whose `X-Forwarded-*` headers are believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises ValueError for what is no address and no network."""
        self._networks = tuple(ip_network(network) for network in networks)

    def trusts(self, address: str | None) -> bool:
        """Return whether this is one of them; no address at all is not."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def may_be_proxy(self, peer: str | None) -> bool:
        """Return whether an untrusted client may be a proxy all the same.

        Any may be where none is named, else only one of a private network: whoever
        writes X-Forwarded-For from outside, past proxies that are known, is no proxy.
        """
        parsed = _parse(peer)
        if parsed is None or self.trusts(peer):
            return False
        return not self._networks or parsed.is_private

    def client_address(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """The address that a request came from, however many headers were forged.

        `forwarded_for` are the values of the X-Forwarded-For headers in their order.
        They are read from the right for as long as the one who wrote them is trusted;
        what is no address ends the walk. Addresses come back in one spelling: an IPv4
        address never as IPv6, no port, no zone.
        """
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        address = _parse(peer)
        while hops and self.trusts(str(address)):
            hop = _parse(_without_port(hops.pop()))
            if hop is None:
                break
            address = hop
        return UNKNOWN if address is None else str(address)

    def origin(
        self,
        peer: str | None,
        scheme: str,
        host: str,
        *,
        forwarded_proto: Sequence[str] = (),
        forwarded_host: Sequence[str] = (),
    ) -> str:
        """The origin under which the client reached this server, like `https://host:8443`.

        `scheme` and `host` are those of the request itself. From a trusted peer the
        last X-Forwarded-Proto and X-Forwarded-Host win over them; from anybody else
        these say nothing.
        """
        if self.trusts(peer):
            scheme = _last(forwarded_proto).lower() or scheme
            host = _last(forwarded_host) or host
        return own_origin(scheme if scheme in _SCHEMES else "http", host)


def address_block(address: str) -> str:
    """Return the network that probably is one customer's: an IPv4 address, a /64 of IPv6.

    Empty for UNKNOWN.
    """
    parsed = _parse(address)
    if parsed is None:
        return ""
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


def countable_block(address: str) -> str:
    """The `address_block` by which connections are counted: none for this machine's own.

    From there come a proxy of whom nobody said that it is one, or an operator's tools.
    """
    parsed = _parse(address)
    return "" if parsed is None or parsed.is_loopback else address_block(address)


def own_origin(scheme: str, host: str) -> str:
    """The origin of a server as browsers spell it: lower case, without the default port."""
    return f"{scheme}://{host.lower().removesuffix(_DEFAULT_PORTS[scheme])}"


def _last(values: Sequence[str]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


@lru_cache(maxsize=4096)
def _parse(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _without_port(hop: str) -> str:
    """`[::1]:80`, `[::1]`, `1.2.3.4:80`: some proxies write the port, too."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
