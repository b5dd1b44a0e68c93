"""Web pages that may call: one decision for REST and for sockets."""

from collections.abc import Sequence

from aiohttp import hdrs, web

from chatserver.http.proxies import TrustedProxies, address_block, countable_block, own_origin

X_FORWARDED_HOST = "X-Forwarded-Host"


class OriginPolicy:
    """Lets the server's own origin and the configured ones call, and nobody else's pages.

    Programs that are no browsers send no Origin and are not its concern. Only an exact
    match is allowed, no suffixes, no wildcards, and `null` (a sandboxed frame, a local
    file) only where it is configured. Some websocket clients name the scheme of the
    websocket, as Apple's apps with Starscream do: `wss` then stands for `https`.
    """

    def __init__(self, origins: Sequence[str], trusted_proxies: Sequence[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._proxies = TrustedProxies(trusted_proxies)

    def allows(self, origin: str | None, own_origin: str) -> bool:
        """Return whether a page of `origin` may call the server that it knows as `own_origin`."""
        if origin is None or origin == own_origin or origin in self._origins:
            return True
        page = _page_origin(origin)
        return page is not None and (page == own_origin or page in self._origins)

    def allows_request(self, request: web.Request) -> bool:
        """`allows` for a request; one with several Origin headers is refused."""
        origins = request.headers.getall(hdrs.ORIGIN, ())
        if not origins:
            return True
        return len(origins) == 1 and self.allows(origins[0], self.own_origin(request))

    def own_origin(self, request: web.Request) -> str:
        """The origin under which the client reached this server."""
        return self._proxies.origin(
            request.remote,
            request.scheme,
            request.headers.get(hdrs.HOST, ""),
            forwarded_proto=request.headers.getall(hdrs.X_FORWARDED_PROTO, ()),
            forwarded_host=request.headers.getall(X_FORWARDED_HOST, ()),
        )

    def is_forwarded_by_stranger(self, request: web.Request) -> bool:
        """Return whether it seems to come through a proxy that is not trusted."""
        is_forwarded = hdrs.X_FORWARDED_FOR in request.headers
        return is_forwarded and self._proxies.may_be_proxy(request.remote)

    def client_address(self, request: web.Request) -> str:
        """The address that the request came from, past the trusted proxies."""
        return self._proxies.client_address(
            request.remote, request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        )

    def counted_address(self, request: web.Request) -> str:
        """Whose sockets one more is counted with; empty where that cannot be told."""
        if self.is_forwarded_by_stranger(request):
            return ""
        address = self.client_address(request)
        if self._proxies.trusts(request.remote) and not self._proxies.trusts(address):
            return address_block(address)
        return self.counted_peer(address)

    def counted_peer(self, peer: str | None) -> str:
        """Like `counted_address`, for a TCP connection: empty for that of a trusted proxy."""
        return "" if peer is None or self._proxies.trusts(peer) else countable_block(peer)

    def may_be_proxy(self, peer: str | None) -> bool:
        """Return whether X-Forwarded-For from there may be a proxy's that is not trusted."""
        return self._proxies.may_be_proxy(peer)


def _page_origin(origin: str) -> str | None:
    """The origin for which one with a websocket's scheme stands; None for any other."""
    scheme, separator, host = origin.partition("://")
    page_scheme = {"ws": "http", "wss": "https"}.get(scheme)
    return None if page_scheme is None or not separator else own_origin(page_scheme, host)
