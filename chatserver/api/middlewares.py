"""Middlewares around every REST handler: id, origin, errors, log, metrics."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Container
from uuid import uuid4

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from chatserver.api.calls import PRINCIPAL, REQUEST_ID
from chatserver.errors import ChatError, Forbidden, InternalError, RateLimited
from chatserver.http.compression import compress
from chatserver.http.origins import OriginPolicy
from chatserver.http.problems import CLIENT_GONE, X_REQUEST_ID, from_http, problem_response
from chatserver.telemetry.metrics import Metrics

NO_ROUTE = "none"
"""Name in metrics and logs of the route of a request that has none."""

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset(hdrs.METH_ALL)

_REFUSAL = web.RequestKey("refusal", ChatError)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.VARY: hdrs.ORIGIN,
}


class RestEdge:
    """The middleware of the REST edge.

    It lets requests for other resources of the application (the sockets', a web
    page's) pass untouched; those for no resource at all are its own.
    """

    def __init__(
        self,
        resources: Container[web.AbstractResource | None],
        origins: OriginPolicy,
        metrics: Metrics,
        is_draining: Callable[[], bool],
        spend: Callable[[web.Request], Awaitable[None]],
    ) -> None:
        """While `is_draining`, each answer is the last of its connection.

        So a load balancer that keeps connections open takes those of other nodes.
        `spend` is called with requests that no route answers: those for nothing, with
        OPTIONS, or of a page that may not call.
        """
        self._resources = resources
        self._origins = origins
        self._metrics = metrics
        self._is_draining = is_draining
        self._spend = spend
        self._log = structlog.get_logger(__name__)

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with `handler`; whatever it raises becomes a problem document.

        A cancelled request stays cancelled.
        """
        match = request.match_info
        if match.http_exception is None and match.route.resource not in self._resources:
            return await handler(request)
        started = time.perf_counter()
        request[REQUEST_ID] = request_id = _request_id(request)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = await self._answer(request, handler)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers[X_REQUEST_ID] = request_id
            await compress(request, response)
            if self._is_draining():
                response.force_close()
            self._record(request, response.status, time.perf_counter() - started)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request[REQUEST_ID]
        try:
            await self._admit(request)
            if request.method == hdrs.METH_OPTIONS and not _is_preflight(request):
                return _options(request)
            return await handler(request)
        except ChatError as error:
            request[_REFUSAL] = error
            return problem_response(error, request_id)
        except web.HTTPException as refusal:
            problem, allow = from_http(refusal)
            return problem_response(problem, request_id, allow)
        except Exception as error:
            if isinstance(error, ConnectionError) and request.transport is None:
                return web.Response(status=CLIENT_GONE)
            self._log.exception("request_failed", method=_method(request), route=_route(request))
            return problem_response(InternalError(), request_id)

    async def _admit(self, request: web.Request) -> None:
        is_allowed = self._origins.allows_request(request)
        if not is_allowed or _is_unrouted(request):
            await self._spend(request)
        if not is_allowed:
            raise Forbidden("Pages of this origin may not call; see the setting cors.origins.")

    def _record(self, request: web.Request, status: int, seconds: float) -> None:
        method, route = _method(request), _route(request)
        self._metrics.request_handled(method, route, status, seconds)
        principal, refusal = request.get(PRINCIPAL), request.get(_REFUSAL)
        # Probes and scrapes come every few seconds and say nothing. Whoever has spent a
        # budget is named in one line (`Budgets`): theirs are as many as anybody likes to send.
        is_told = isinstance(refusal, RateLimited) and refusal.told_for is not None
        is_worth_it = route.startswith("/api/") or status >= 500
        level = logging.INFO if is_worth_it and not is_told else logging.DEBUG
        self._log.log(
            level,
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 1),
            user_id=None if principal is None else str(principal.user_id),
            **({} if refusal is None else {"code": refusal.code, **refusal.about}),
        )


def _is_unrouted(request: web.Request) -> bool:
    """Return whether no route answers it; aiohttp_cors gives one of its own to preflights."""
    return request.method == hdrs.METH_OPTIONS or request.match_info.http_exception is not None


def _is_preflight(request: web.Request) -> bool:
    """Return whether it is a CORS preflight, the only requests that aiohttp_cors answers."""
    asked = (hdrs.ORIGIN, hdrs.ACCESS_CONTROL_REQUEST_METHOD)
    return all(name in request.headers for name in asked)


def _options(request: web.Request) -> web.Response:
    """Return the methods that a resource takes. Raises HTTPNotFound for none."""
    resource = request.match_info.route.resource
    if resource is None:
        assert request.match_info.http_exception is not None
        raise request.match_info.http_exception
    methods = sorted({route.method for route in resource} | {hdrs.METH_OPTIONS})
    return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods)})


def _request_id(request: web.Request) -> str:
    """The caller's own id for the request if it is harmless, else a new one."""
    given = request.headers.get(X_REQUEST_ID, "")
    return given if _SANE_ID.fullmatch(given) else uuid4().hex


def _method(request: web.Request) -> str:
    """A client may make methods up; a label has few values."""
    return request.method if request.method in _METHODS else "OTHER"


def _route(request: web.Request) -> str:
    """The template of the path: never the ids in it, never the query."""
    resource = request.match_info.route.resource
    return NO_ROUTE if resource is None else resource.canonical
