"""TCP connections as aiohttp serves them, and what it leaves open: slow and bad requests."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from chatserver.api.middlewares import X_REQUEST_ID
from chatserver.api.problems import BadRequest, HeaderFieldsTooLarge, problem_response

SERVER_NAME: Final = "chatserver"
"""How answers call what gave them: aiohttp would tell its version and that of Python."""


class Connection(web.RequestHandler):
    """One connection, which ends when the head of a request does not arrive in time.

    aiohttp waits for the first one without end, and for the rest of one that has begun
    as long as for a new one. A connection that has made a request may be silent until
    aiohttp's `keepalive_timeout`.
    """

    __slots__ = ("_head_timer", "_request_timeout", "on_lost")

    def __init__(self, server: web.Server, *, request_timeout: float, **options: Any) -> None:
        super().__init__(server, **options)
        self._request_timeout = request_timeout
        self._head_timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], None] | None = None
        """Called when the connection ends; a new request takes it away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._cancel_timer()
            self.on_lost = None
        elif self._waiter is not None and not self._waiter.done():
            # Nothing is being answered: this is a part of the next request's head.
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The last answer of the connection: to what is no HTTP, or for a failed handler.

        Anybody can send the former at any rate, so it is one line of the log that
        quotes nothing.
        """
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        structlog.get_logger(__name__).info("bad_request", reason=type(exc).__name__)
        request_id = uuid4().hex
        refusal = HeaderFieldsTooLarge() if isinstance(exc, LineTooLong) else BadRequest()
        response = problem_response(refusal, request_id)
        response.headers.update({hdrs.SERVER: SERVER_NAME, X_REQUEST_ID: request_id})
        response.force_close()
        return response

    def log_exception(self, *args: Any, **options: Any) -> None:
        """As aiohttp does, but for a body that is broken behind its answer: anybody's again."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)

    def _await_head(self) -> None:
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._request_timeout, self.force_close)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def watch_connection(request: web.Request, on_lost: Callable[[], None]) -> None:
    """Have `on_lost` called when the connection of `request` ends, during the request or
    after it, unless another request has come on it before.

    Nothing happens where aiohttp's own connections serve the application.
    """
    if isinstance(request.protocol, Connection):
        request.protocol.on_lost = on_lost


class ConnectionServer(web.Server):
    """Makes a `Connection` for each client that is accepted.

    `request_timeout` is in seconds; `options` are those of aiohttp's RequestHandler.
    """

    def __init__(self, made: web.Server, *, request_timeout: float, **options: Any) -> None:
        """Serves what `made`, the server of an application, would serve."""
        super().__init__(made.request_handler, request_factory=made.request_factory)
        self._options = {"request_timeout": request_timeout, **options}

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)


class ConnectionRunner(web.AppRunner):
    """Runs an application behind a `ConnectionServer`, which gets `connection_options`."""

    def __init__(
        self, app: web.Application, *, connection_options: dict[str, Any], **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._connection_options = connection_options

    async def _make_server(self) -> web.Server:
        return ConnectionServer(await super()._make_server(), **self._connection_options)


async def name_server(_: web.Request, response: web.StreamResponse) -> None:
    """Say the same in answers as where a request was too bad for them."""
    response.headers[hdrs.SERVER] = SERVER_NAME
