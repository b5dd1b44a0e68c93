"""Routes of the internal port, for the operator's own machines alone."""

from aiohttp import web

from chatserver.api.operations import METRICS, render_metrics
from chatserver.telemetry.metrics import Metrics


def create_internal_app(metrics: Metrics) -> web.Application:
    """An application beside the public one; it has no middleware and opens nothing."""

    async def get_metrics(request: web.Request) -> web.Response:
        return render_metrics(metrics, request)

    app = web.Application()
    app.router.add_get(METRICS, get_metrics)
    return app
