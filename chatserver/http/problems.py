"""Errors over HTTP: `application/problem+json` (RFC 9457) for whatever goes wrong."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import hdrs, web

from chatserver.errors import (
    TOLD_GRACE,
    ChatError,
    Forbidden,
    InternalError,
    InvalidPayload,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
    UnsupportedMedia,
)

MEDIA_TYPE = "application/problem+json"
X_REQUEST_ID = "X-Request-ID"

CLIENT_GONE = 499
"""The status, in metrics and logs, of an answer that nobody waited for."""
TYPE_PREFIX = "urn:chatserver:error:"
DEFAULT_RETRY_AFTER = 1.0


class BadRequest(ChatError):
    """Only HTTP has these, so that this one and the next three are not in the error tree."""

    code = "bad_request"
    status = 400
    title = "Bad request"
    default_detail = "The request is not valid HTTP."


class HeaderFieldsTooLarge(ChatError):
    """Also for a request line that is too long: both are lines of the head to the parser."""

    code = "header_fields_too_large"
    status = 431
    title = "Request header fields too large"
    default_detail = "A line of the request's head is longer than 8 KB."


class MethodNotAllowed(ChatError):
    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"
    default_detail = "The path does not take this method; see the Allow header."


class RequestTimeout(ChatError):
    code = "request_timeout"
    status = 408
    title = "Request timeout"
    retryable = True
    default_detail = "The body did not arrive in time."


_BY_STATUS: Mapping[int, type[ChatError]] = {
    error.status: error
    for error in (
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMedia,
    )
}


def from_http(error: web.HTTPException) -> tuple[ChatError, Sequence[str]]:
    """Return what aiohttp refused by itself as an error of ours, and the methods to `Allow`."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(), sorted(error.allowed_methods)
    if error.status in _BY_STATUS:
        return _BY_STATUS[error.status](), ()
    return (InternalError() if error.status >= 500 else InvalidPayload(fields={})), ()


def problem_response(error: ChatError, request_id: str, allow: Sequence[str] = ()) -> web.Response:
    """The answer to a request that failed with `error`."""
    response = web.Response(
        body=orjson.dumps(problem(error, request_id)), status=error.status, content_type=MEDIA_TYPE
    )
    if allow:
        response.headers[hdrs.ALLOW] = ", ".join(allow)
    if error.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if error.status in (429, 503):
        seconds = error.retry_after if error.retry_after is not None else DEFAULT_RETRY_AFTER
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(seconds)))
    if isinstance(error, RateLimited) and (error.told_for or 0) > TOLD_GRACE:
        response.force_close()  # it was told to wait, and goes on
    if error.status in (408, 413):
        # What is left of the body is not worth waiting for.
        response.force_close()
    return response


def problem(error: ChatError, request_id: str) -> dict[str, Any]:
    """The error object of the contract with the members that RFC 9457 adds."""
    body = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        **error.to_dict(),
        "request_id": request_id,
    }
    if "fields" in body:
        # Names of unknown fields are the client's own, and may be bytes that are no text.
        body["fields"] = {_printable(name): texts for name, texts in body["fields"].items()}
    return body


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
