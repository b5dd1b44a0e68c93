"""The HTTP responses of the Engine.IO endpoint: errors, polling bodies and CORS headers."""

import math

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict


class EngineError(Exception):
    """A refused request, in the shape that Socket.IO clients know: `{code, message}`.

    `kind` names it for operators; None for one that has been reported already. Without
    `keep_alive` what is left of the request's body is not waited for.
    """

    def __init__(
        self,
        code: int,
        message: str,
        kind: str | None,
        *,
        status: int = 400,
        retry_after: int | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.code = code
        self.message = message
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.keep_alive = keep_alive
        super().__init__(message)


def unknown_transport() -> EngineError:
    return EngineError(0, "Transport unknown", "unknown_transport")


def unknown_sid(*, is_draining: bool) -> EngineError:
    """A draining node has just forgotten its sessions, so that their clients come back."""
    return EngineError(1, "Session ID unknown", "draining" if is_draining else "unknown_sid")


def bad_handshake_method() -> EngineError:
    return EngineError(2, "Bad handshake method", "bad_handshake_method")


def bad_request(kind: str | None = "bad_request", *, keep_alive: bool = True) -> EngineError:
    return EngineError(3, "Bad request", kind, keep_alive=keep_alive)


def too_large(kind: str | None, *, keep_alive: bool) -> EngineError:
    return EngineError(3, "Payload too large", kind, status=413, keep_alive=keep_alive)


def foreign_origin() -> EngineError:
    return EngineError(4, "Forbidden", "foreign_origin", status=403)


def unsupported_version() -> EngineError:
    return EngineError(5, "Unsupported protocol version", "unsupported_version")


def too_many_sockets() -> EngineError:
    message = "Too many connections from this address"
    return EngineError(4, message, "too_many_sockets", status=429, retry_after=10)


def rate_limited(retry_after: float) -> EngineError:
    return EngineError(
        4,
        "Too many requests",
        "rate_limited",
        status=429,
        retry_after=math.ceil(retry_after),
        keep_alive=False,
    )


def draining() -> EngineError:
    return EngineError(4, "The server is going down", "draining", status=503, retry_after=1)


def text(body: bytes) -> web.Response:
    """A polling answer."""
    return web.Response(body=body, content_type="text/plain", charset="UTF-8")


def failure(error: EngineError) -> web.Response:
    body = orjson.dumps({"code": error.code, "message": error.message})
    response = web.Response(
        body=body, status=error.status, content_type="application/json", charset="utf-8"
    )
    if not error.keep_alive:
        response.force_close()
    if error.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
    return response


def preflight(request: web.Request) -> web.Response:
    """The answer to OPTIONS; the caller has checked the origin and adds `cors_headers`."""
    response = web.Response(status=204)
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, OPTIONS"
    wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
    if wanted is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = wanted
    response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "600"
    return response


def cors_headers(request: web.Request) -> CIMultiDict[str]:
    """Headers of every response to an allowed origin."""
    headers = CIMultiDict(
        {hdrs.CACHE_CONTROL: "no-store", "X-Content-Type-Options": "nosniff", hdrs.VARY: "Origin"}
    )
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None:
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
    return headers
