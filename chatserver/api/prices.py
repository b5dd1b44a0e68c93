"""Puts a price on what is served to anybody: the page, and the documentation."""

from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler

from chatserver.api.calls import REQUEST_ID
from chatserver.errors import RateLimited
from chatserver.http.problems import X_REQUEST_ID, problem_response
from chatserver.http.strangers import Strangers


def priced(handler: Handler, strangers: Strangers, cost: float) -> Handler:
    """`handler`, whose callers spend `cost` from the budget of their address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            strangers.spend(request, cost)
        except RateLimited as error:
            request_id = request.get(REQUEST_ID) or uuid4().hex
            response = problem_response(error, request_id)
            response.headers[X_REQUEST_ID] = request_id
            return response
        return await handler(request)

    return handle
