"""From a route of the table to what aiohttp calls: authenticate, parse, call, answer."""

import time
from contextlib import suppress

from aiohttp import hdrs, web

from chatserver.api.calls import PRINCIPAL, Api, Call
from chatserver.api.parsing import RequestParser, bearer_token, path_ids
from chatserver.api.routes import FREE, Route
from chatserver.errors import Unauthorized
from chatserver.http.problems import CLIENT_GONE
from chatserver.models import Principal


class Endpoint:
    """One route of one application."""

    def __init__(self, route: Route, api: Api, parser: RequestParser) -> None:
        self._route = route
        self._api = api
        self._parser = parser
        self._query = route.query()
        self._body = None if route.body is None else route.body()
        self._cost = _cost(route, api)

    async def handle(self, request: web.Request) -> web.Response:
        """Authenticate, parse, run: strangers learn nothing of mistakes in their requests."""
        started = time.perf_counter()
        if self._route.is_public:
            if self._cost:
                self._api.strangers.spend(request, self._cost)
            return await self._route.handler(self._api, Call(request, started))
        request[PRINCIPAL] = principal = await _authenticate(self._api, request)
        has_waited = await self._api.budgets.start(principal)
        if has_waited and request.transport is None:
            return web.Response(status=CLIENT_GONE)
        self._api.budgets.spend(principal, self._cost)
        call = Call(
            request,
            started,
            ids=path_ids(request),
            query=await self._parser.parse(self._query, request, location="query"),
            body=await self._parser.parse(self._body, request) if self._body else {},
        )
        patience = self._api.settings.database.pool_timeout
        async with self._api.budgets.turns.take(principal, patience):
            return await self._route.handler(self._api, call)


async def spend_unrouted(api: Api, request: web.Request) -> None:
    """Spend for a request that comes to no route: from its user's budget if it has a token."""
    if hdrs.AUTHORIZATION not in request.headers:
        api.strangers.spend(request, api.budgets.costs.public)
        return
    with suppress(Unauthorized):
        request[PRINCIPAL] = principal = await _authenticate(api, request)
        api.budgets.spend(principal, api.budgets.costs.request)


async def _authenticate(api: Api, request: web.Request) -> Principal:
    """Raises Unauthorized, or RateLimited for an address that has tried too often.

    A valid token is never refused for its address, which others may share.
    """
    try:
        return await api.services.sessions.authenticate(bearer_token(request))
    except Unauthorized:
        api.strangers.spend(request, api.budgets.costs.bad_token)
        raise


def _cost(route: Route, api: Api) -> float:
    if route.cost == FREE:
        return 0.0
    default = "public" if route.is_public else "request"
    cost: float = getattr(api.budgets.costs, route.cost or default)
    return cost
