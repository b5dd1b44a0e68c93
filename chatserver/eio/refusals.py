"""Refused requests: paid for, and told apart for operators by a count and a line of log."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from chatserver.eio.observers import Observer
from chatserver.eio.responses import EngineError, failure, rate_limited

log = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Seconds between two lines of one kind: anybody can send such requests at any rate."""

_LONGEST_ORIGIN: Final = 100

_DRAINING: Final = "draining"

_FREE: Final = (None, _DRAINING, "rate_limited")
"""Refusals for which nothing is spent: of a session that had been paid for, of every restart,
and of what could not be paid for."""

# What each kind usually means for those who run the server.
_HINTS: Final = {
    "unknown_sid": (
        "where it goes on, the requests of one session reach several nodes: long-polling "
        "behind a load balancer needs stickiness; a few are ordinary after a restart"
    ),
    "unsupported_version": "the client is older than Socket.IO 3 (EIO=3), or is none",
    "unknown_transport": "what asks is no Socket.IO client",
    "not_upgraded": (
        "a websocket came without its headers: does a proxy drop Upgrade and Connection?"
    ),
    "foreign_origin": "list the origin of the page in cors.origins if it may call",
    "too_many_sockets": (
        "see realtime.max_sockets_per_address; if all clients seem to have the address of "
        "a proxy, list that in server.trusted_proxies"
    ),
}


class Refusals:
    """Answers refused requests.

    `spend` is called with each and returns 0, or for how many seconds its sender has nothing
    left. Tells `observer` of each, and the log of each kind once in QUIET seconds.
    """

    def __init__(self, observer: Observer, spend: Callable[[web.Request], float]) -> None:
        self._observer = observer
        self._spend = spend
        self._quiet_until: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def answer(self, error: EngineError, request: web.Request) -> web.Response:
        """The answer to `request`, which was refused with `error`."""
        if error.kind not in _FREE:
            try:
                self.spend(request)
            except EngineError as limited:
                error = limited
        self._note(error, request)
        return failure(error)

    def spend(self, request: web.Request) -> None:
        """Have a request that opens nothing paid for; raises EngineError."""
        if retry_after := self._spend(request):
            raise rate_limited(retry_after)

    def _note(self, error: EngineError, request: web.Request) -> None:
        """Count and log `error`; nothing is done for one without a kind, which is counted."""
        kind = error.kind
        if kind is None:
            return
        self._observer.error(kind)
        if kind == _DRAINING:
            return  # what every restart brings
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until.get(kind, 0.0):
            self._unlogged[kind] = self._unlogged.get(kind, 0) + 1
            return
        self._quiet_until[kind] = now + QUIET
        log.warning("engineio_request_refused", extra=self._describe(kind, request))

    def _describe(self, kind: str, request: web.Request) -> dict[str, object]:
        facts: dict[str, object] = {
            "error_type": kind,
            "unlogged_before": self._unlogged.pop(kind, 0),
        }
        if kind == "foreign_origin":
            origins = request.headers.getall(hdrs.ORIGIN, ())
            # As Python writes it: nothing in it may change how a terminal shows the line.
            facts["origin"] = (
                ascii(origins[0][:_LONGEST_ORIGIN]) if len(origins) == 1 else "several"
            )
        if kind in _HINTS:
            facts["hint"] = _HINTS[kind]
        return facts
