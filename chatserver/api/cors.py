"""CORS headers: which pages of other origins may read the answers of the REST edge."""

from collections.abc import Iterable, Sequence

import aiohttp_cors
from aiohttp import hdrs, web

from chatserver.api.parsing import IDEMPOTENCY_KEY
from chatserver.http.problems import X_REQUEST_ID

MAX_AGE = 600
"""Seconds for which a browser may remember what it was allowed."""

_OPTIONS = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
    # Tokens come in a header, but a load balancer may tell nodes apart by a cookie.
    allow_credentials=True,
    expose_headers=(hdrs.LINK, hdrs.LOCATION, hdrs.RETRY_AFTER, X_REQUEST_ID),
    allow_headers=(hdrs.AUTHORIZATION, hdrs.CONTENT_TYPE, IDEMPOTENCY_KEY, X_REQUEST_ID),
    max_age=MAX_AGE,
)


def allow_origins(
    app: web.Application, resources: Iterable[web.Resource], origins: Sequence[str]
) -> None:
    """Let pages of `origins` read what `resources`, whose routes are all there, answer.

    The server's own pages need no such header, and requests of all other pages are
    refused before they get this far (`chatserver.api.middlewares`).
    """
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, _OPTIONS))
    for resource in resources:
        routes = list(resource)
        cors.add(resource)
        for route in routes:
            cors.add(route)
