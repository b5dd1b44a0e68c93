"""Requests that have not proven who sends them: counted by their address, on both edges."""

import time
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from chatserver.errors import RateLimited
from chatserver.http.admissions import HEALTH_PATHS
from chatserver.http.origins import OriginPolicy
from chatserver.http.problems import CLIENT_GONE
from chatserver.http.proxies import address_block
from chatserver.services.budgets import Budgets
from chatserver.telemetry.metrics import Metrics

WARNING_INTERVAL: Final = 600.0
"""Seconds between two warnings about a proxy that is not trusted."""


COUNTED: Final = web.RequestKey("counted_address", str)
COUNTED_ADDRESS: Final = "chatserver.counted_address"
"""On which address a handshake was counted, for `Budgets.prove`: with its request, and the
same in what the connect handler gets."""


class Strangers:
    """Spends from the budget of the address that a request came from.

    An address that cannot be told is not counted: where X-Forwarded-For comes from a
    proxy that is not trusted, all who are behind it would be one.
    """

    def __init__(self, budgets: Budgets, origins: OriginPolicy, metrics: Metrics) -> None:
        self._budgets = budgets
        self._origins = origins
        self._metrics = metrics
        self._warned_at = float("-inf")

    @web.middleware
    async def take_turn(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Begin few requests of an address in a turn of the event loop (`Budgets`).

        Around everything but health checks, tokens or not: whoever shares the address
        waits for turns, which are short, and not for what has begun.
        """
        if request.path not in HEALTH_PATHS:
            has_waited = await self._budgets.start_unproven(self._find_address(request))
            if has_waited and request.transport is None:
                return web.Response(status=CLIENT_GONE)
        return await handler(request)

    def spend(self, request: web.Request, cost: float) -> None:
        """Raises RateLimited where the address has nothing left."""
        self._budgets.spend_unproven(self._address(request), cost)

    def admit_handshake(self, request: web.Request) -> float:
        """Spend for a handshake over HTTP; its token may come with a later packet.

        0, or after how many seconds it may be tried again.
        """
        request[COUNTED] = address = self._address(request)
        try:
            self._budgets.spend_handshake(address)
        except RateLimited as error:
            return error.retry_after or 1.0
        return 0.0

    def admit_request(self, request: web.Request) -> float:
        """Spend for a request that opens no socket; as `admit_handshake`."""
        try:
            self.spend(request, self._budgets.costs.public)
        except RateLimited as error:
            return error.retry_after or 1.0
        return 0.0

    def _address(self, request: web.Request) -> str:
        """On which address to count, with a warning where that cannot be told."""
        address = self._find_address(request)
        if not address and self._origins.is_forwarded_by_stranger(request):
            self._metrics.budget_uncounted()
            self._warn(request.remote)
        return address

    def _find_address(self, request: web.Request) -> str:
        if self._origins.is_forwarded_by_stranger(request):
            return ""
        return address_block(self._origins.client_address(request))

    def _warn(self, peer: str | None) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = now
            structlog.get_logger(__name__).warning(
                "proxy_not_trusted",
                peer=peer,
                hint="X-Forwarded-For is not believed and addresses are not limited: "
                "name the proxy in server.trusted_proxies",
            )
