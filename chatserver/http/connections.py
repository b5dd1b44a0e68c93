"""TCP connections as aiohttp serves them, and what it leaves open.

Slow and bad requests, answers that nobody reads, heads without end, and how many
connections there may be. What is private to aiohttp is used here and nowhere else.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import uuid4

import structlog
from aiohttp import StreamReader, hdrs, web, web_protocol
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from chatserver.http.admissions import PROBATION, Admissions
from chatserver.http.problems import (
    X_REQUEST_ID,
    BadRequest,
    HeaderFieldsTooLarge,
    problem_response,
)
from chatserver.http.successors import Successor, Successors
from chatserver.http.unread_answers import UnreadAnswers

SERVER_NAME: Final = "chatserver"
"""Value of the `Server` header: aiohttp would tell its version and that of Python."""


MAX_HEAD_BYTES: Final = 32_768
"""The longest head of a request: what it holds is kept until the next one on its connection."""

MAX_PIPELINED: Final = 4
"""So many requests of a connection may wait for the one before them; no browser sends any."""

SEND_BUFFER: Final = 131_072
"""Bytes that the kernel keeps at most for a client that does not acknowledge; it counts double."""

UNSENT_BYTES: Final = 32_768
"""Of these, so many may not even have been sent."""

WRITE_TIMEOUT: Final = 10.0

UNACKNOWLEDGED: Final = 40_000
"""Milliseconds that the kernel waits for a client to acknowledge or to make room."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER's value: do not wait, drop what was not sent."""

_TCP_OPTIONS: Final = (
    ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ("TCP_USER_TIMEOUT", UNACKNOWLEDGED),  # on Linux
)

web_protocol.MAX_MSG_QUEUE_SIZE = MAX_PIPELINED


class Connection(web.RequestHandler):
    """One connection, which ends when a client is too slow in sending or in reading.

    aiohttp waits for the first head without end, and for the rest of one that has begun
    as long as for a new one. A connection that has made a request may be silent until
    aiohttp's `keepalive_timeout`. An answer must be taken in time (`UnreadAnswers`), also
    one that is still being written when the connection ends. A websocket is no connection
    of this kind any more: once it is open, its transport has another protocol.
    """

    __slots__ = (
        "_admission",
        "_admissions",
        "_body",
        "_head_bytes",
        "_head_timer",
        "_request_timeout",
        "_successors",
        "_unread",
        "_wire",
        "on_lost",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        request_timeout: float,
        unread: UnreadAnswers,
        admissions: Admissions,
        successors: Successors,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self._request_timeout = request_timeout
        self._unread = unread
        self._admissions = admissions
        self._successors = successors
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of a head that is not complete
        self._body: StreamReader | None = None  # of the latest request
        self.on_lost: Callable[[], None] | None = None
        """Called when the connection ends; a new request takes it away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        peer = wire.get_extra_info("peername")
        self._admission = self._admissions.begin(peer[0] if isinstance(peer, tuple) else None)
        # aiohttp then waits with the next answer until the kernel has all of this one.
        wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._await_head()
        if self._admission.reason is not None:
            self._admissions.try_out(self)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        is_head = self._body is None or self._body.is_eof()
        super().data_received(data)
        if self._request_count != before:
            self._cancel_timer()
            self.on_lost = None
            self._take_heads(self._request_count - before, len(data))
        elif is_head:
            # A part of the next request's head, which may come while one is answered.
            self._head_bytes += len(data)
            is_waiting = self._waiter is not None and not self._waiter.done()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._cancel_timer()
                self._refuse_head(is_waiting=is_waiting)
            elif is_waiting:
                self._await_head()

    def _take_heads(self, count: int, size: int) -> None:
        """Look at the `count` new requests, the last of which ended in a piece of `size` bytes."""
        may_be_long = self._head_bytes + size > MAX_HEAD_BYTES
        self._head_bytes = 0
        self._body = self._messages[-1][1]
        if may_be_long:
            for place in range(-count, 0):
                message, body = self._messages[place]
                if _head_size(message) > MAX_HEAD_BYTES:
                    self._messages[place] = _long_head(), body
        if self._admission.reason is not None:
            self._try_request(self._messages[-count][0])

    def _refuse_head(self, *, is_waiting: bool) -> None:
        if not is_waiting:
            self.abort()
            return
        self._request_count += 1
        self._messages.append((_long_head(), EMPTY_PAYLOAD))
        assert self._waiter is not None
        self._waiter.set_result(None)

    def _try_request(self, message: Any) -> None:
        """Serve the first request of a connection on probation, if it is of the right kind."""
        is_request = isinstance(message, RawRequestMessage)
        if not (is_request and self._admission.try_request(message.path, message.headers)):
            self.abort()
            return
        self._admissions.forget(self)
        if self._admission.reason is not None:
            self.close()  # after the answer

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.watch(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread.forget(self)

    def unsent_bytes(self) -> int:
        """Return how many bytes the kernel has not taken."""
        return self._wire.get_write_buffer_size()

    def abort(self) -> None:
        """Close at once and throw away what was not sent, in the kernel, too."""
        connection = self._wire.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):  # closed already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._wire.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._cancel_timer()
        self._unread.forget(self)
        self._admissions.forget(self)
        heir = self._wire.get_protocol()
        if heir is None or heir is self:
            self._admission.end()
        else:  # it is lost to aiohttp alone (see eio.opening_handshake)
            self._successors.add(cast(Successor, heir), self._wire, self._admission)
        super().connection_lost(exc)
        self._body = None
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
        """Log like aiohttp, but no body that breaks after its response: anybody can send one."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)

    def _await_head(self) -> None:
        if self._head_timer is None:
            loop = asyncio.get_running_loop()
            seconds = self._request_timeout
            if self._admission.reason is not None:
                seconds = min(seconds, PROBATION)
            self._head_timer = loop.call_later(seconds, self.force_close)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def limit_kernel(site: web.TCPSite) -> None:
    """Have the kernel keep little for clients of `site` that do not read."""
    server = cast(asyncio.Server, site._server)
    for listener in server.sockets:  # from which each connection has it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        for name, value in _TCP_OPTIONS:
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _head_size(message: Any) -> int:
    """Bytes of a request's head, nearly; 0 for what is none."""
    if not isinstance(message, RawRequestMessage):
        return 0
    return len(message.path) + sum(len(name) + len(text) + 4 for name, text in message.raw_headers)


def _long_head() -> Any:
    """Stand-in that aiohttp queues for a request whose head is too long."""
    return web_protocol._ErrInfo(400, LineTooLong(b"", MAX_HEAD_BYTES), "")


def watch_connection(request: web.Request, on_lost: Callable[[], None]) -> None:
    """Have `on_lost` called when the connection of `request` ends, during the request or
    after it, unless another request has come on it before.

    Nothing happens where aiohttp's own connections serve the application.
    """
    if isinstance(request.protocol, Connection):
        request.protocol.on_lost = on_lost


class ConnectionServer(web.Server):
    """Makes a `Connection` for each client that is accepted.

    `request_timeout` and `write_timeout` are in seconds; `on_unread` hears of each
    connection whose response was aborted; `options` are those of aiohttp's RequestHandler.
    """

    def __init__(
        self,
        made: web.Server,
        *,
        request_timeout: float,
        write_timeout: float = WRITE_TIMEOUT,
        on_unread: Callable[[], None] = lambda: None,
        admissions: Admissions | None = None,
        **options: Any,
    ) -> None:
        """Serves what `made`, the server of an application, would serve."""
        super().__init__(made.request_handler, request_factory=made.request_factory)
        self._successors = Successors()
        self._options = {
            "successors": self._successors,
            "request_timeout": request_timeout,
            "unread": UnreadAnswers(write_timeout, on_unread),
            "admissions": Admissions() if admissions is None else admissions,
            **options,
        }

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await asyncio.gather(super().shutdown(timeout), self._successors.wait(timeout))


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
