"""Endpoints for operators and load balancers: liveness, readiness, metrics."""

from dataclasses import asdict
from typing import Final

from aiohttp import hdrs, web
from marshmallow import fields, validate

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.api.routes import FREE, OPERATIONS, TEXT, Answer, Route
from chatserver.schemas.base import Boolean, Schema
from chatserver.telemetry.metrics import Metrics


class HealthSchema(Schema):
    status = fields.String(required=True, validate=validate.Equal("ok"))


class ChecksSchema(Schema):
    database = Boolean(required=True)
    migrations = Boolean(required=True)
    backplane = Boolean(required=True)
    draining = Boolean(required=True, metadata={"description": "The node is about to end"})


class ReadinessSchema(Schema):
    status = fields.String(required=True, validate=validate.OneOf(["ready", "not_ready"]))
    checks = fields.Nested(ChecksSchema, required=True)


async def get_health(_: Api, __: Call) -> web.Response:
    """The process lives. Asks nothing of the database: a restart would not mend that."""
    return json_response({"status": "ok"})


class ReadinessQuery(Schema):
    excluded = fields.String(
        data_key="exclude",
        metadata={
            "description": "`backplane`: ready also without Redis, for a balancer that would"
            " otherwise have no node at all. Anything else is ignored."
        },
    )


async def get_readiness(api: Api, call: Call) -> web.Response:
    checks = await api.readiness.check()
    is_excluded = "backplane" in call.request.query.getall("exclude", ())
    is_ready = checks.is_ready_alone if is_excluded else checks.is_ready
    return json_response(
        {"status": "ready" if is_ready else "not_ready", "checks": asdict(checks)},
        status=200 if is_ready else 503,
    )


METRICS: Final = "/metrics"


async def get_metrics(api: Api, call: Call) -> web.Response:
    return render_metrics(api.metrics, call.request)


def render_metrics(metrics: Metrics, request: web.Request) -> web.Response:
    body, headers = metrics.render(request.headers.getall(hdrs.ACCEPT, []))
    return web.Response(body=body, headers=headers)


ROUTES: Final = (
    Route(
        "GET",
        "/healthz",
        get_health,
        (Answer(200, HealthSchema, description="The process lives."),),
        "Liveness",
        OPERATIONS,
        is_public=True,
        cost=FREE,
    ),
    Route(
        "GET",
        "/readyz",
        get_readiness,
        (
            Answer(200, ReadinessSchema, description="Send requests here."),
            Answer(503, ReadinessSchema, description="Send none."),
        ),
        "Readiness",
        OPERATIONS,
        query=ReadinessQuery,
        is_public=True,
        cost=FREE,
    ),
    Route(
        "GET",
        METRICS,
        get_metrics,
        (
            Answer(
                200,
                media_type=TEXT,
                description="In the format that Accept asks for; only where"
                " `server.public_metrics` is on. Else it is on `server.internal_port`.",
            ),
        ),
        "Prometheus metrics",
        OPERATIONS,
        is_public=True,
    ),
)
