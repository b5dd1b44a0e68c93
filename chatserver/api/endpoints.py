"""From a route of the table to what aiohttp calls: authenticate, parse, call, answer."""

import time

from aiohttp import web

from chatserver.api.calls import PRINCIPAL, Api, Call
from chatserver.api.parsing import RequestParser, bearer_token, path_ids
from chatserver.api.routes import Route


class Endpoint:
    """One route of one application."""

    def __init__(self, route: Route, api: Api, parser: RequestParser) -> None:
        self._route = route
        self._api = api
        self._parser = parser
        self._query = route.query()
        self._body = None if route.body is None else route.body()

    async def handle(self, request: web.Request) -> web.Response:
        """Who calls is settled first: strangers learn nothing else, not even of mistakes."""
        started = time.perf_counter()
        if self._route.is_public:
            return await self._route.handler(self._api, Call(request, started))
        request[PRINCIPAL] = await self._api.services.sessions.authenticate(bearer_token(request))
        call = Call(
            request,
            started,
            ids=path_ids(request),
            query=await self._parser.parse(self._query, request, location="query"),
            body=await self._parser.parse(self._body, request) if self._body else {},
        )
        return await self._route.handler(self._api, call)
