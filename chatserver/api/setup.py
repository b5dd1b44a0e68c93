"""Puts the REST edge into an application."""

from functools import cache

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from chatserver.api.calls import Api, ApiServices
from chatserver.api.cors import allow_origins
from chatserver.api.docs import DocumentPages
from chatserver.api.endpoints import Endpoint, spend_unrouted
from chatserver.api.middlewares import RestEdge
from chatserver.api.openapi import build_openapi
from chatserver.api.operations import METRICS
from chatserver.api.parsing import RequestParser
from chatserver.api.prices import priced
from chatserver.api.table import ROUTES
from chatserver.http.origins import OriginPolicy
from chatserver.http.strangers import Strangers
from chatserver.services.budgets import Budgets
from chatserver.services.readiness import Readiness
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics


def setup_api(
    app: web.Application,
    *,
    settings: Settings,
    services: ApiServices,
    origins: OriginPolicy,
    metrics: Metrics,
    readiness: Readiness,
    budgets: Budgets,
    strangers: Strangers,
) -> None:
    """Add every route of the table, the documentation, and the middleware around them."""
    resources: dict[str, web.Resource] = {}

    def add(method: str, path: str, handler: Handler) -> None:
        if path not in resources:
            resources[path] = app.router.add_resource(path)
        resources[path].add_route(method, handler)
        if method == hdrs.METH_GET:
            resources[path].add_route(hdrs.METH_HEAD, handler)

    api = Api(services, metrics, readiness, settings, budgets, strangers)
    parser = RequestParser(
        max_body_bytes=settings.server.max_body_bytes,
        body_timeout=settings.server.request_timeout,
    )
    for route in ROUTES:
        if route.path == METRICS and not settings.server.public_metrics:
            continue
        add(route.method, route.path, Endpoint(route, api, parser).handle)
    if settings.server.serve_docs:
        pages = _document_pages(settings.messages.max_length, settings.server.max_body_bytes)
        for path, page in (("/api/openapi.json", pages.openapi), ("/api/docs", pages.docs)):
            add(hdrs.METH_GET, path, priced(page, strangers, budgets.costs.document))
    allow_origins(app, resources.values(), settings.cors.origins)
    edge = RestEdge(
        set(resources.values()),
        origins,
        metrics,
        lambda: readiness.draining,
        lambda request: spend_unrouted(api, request),
    )
    app.middlewares.append(edge.handle)


@cache
def _document_pages(max_length: int, max_body_bytes: int) -> DocumentPages:
    """Made once a process, because it takes longer than all else of a node's start."""
    return DocumentPages(
        build_openapi(ROUTES, max_length=max_length, max_body_bytes=max_body_bytes)
    )
