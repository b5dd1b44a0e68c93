"""Answers that nobody reads: aborted after a while, so that nothing is held for who is away."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

LEAST_RATE: Final = 4096
"""Bytes a second that a client takes at least; each buys it the time that it needs at this rate."""

TICK: Final = 1.0

AT_ONCE: Final = 8
"""Connections that are closed in one turn of the event loop: hundreds take long."""

NEXT: Final = 0.01
"""Seconds until the next ones are."""

LOG_INTERVAL: Final = 10.0


class Reader(Protocol):
    """The sending side of a connection."""

    def unsent_bytes(self) -> int:
        """Return how many bytes the system has not taken yet; 0 for what others see to."""

    def abort(self) -> None:
        """Close the connection at once and throw away what was not sent."""


class _Unsent:
    """Progress of a client since its response got stuck."""

    __slots__ = ("last", "since", "taken")

    def __init__(self, since: float, size: int) -> None:
        self.since = since
        self.last = size
        self.taken = 0

    def take(self, size: int) -> None:
        self.taken += max(0, self.last - size)
        self.last = size


class UnreadAnswers:
    """Gives up the connections whose clients take nothing for `timeout` seconds, or too little.

    A connection is watched from when something is left of what it writes until all of it
    is gone. Who takes LEAST_RATE is never aborted. One timer serves all, and runs only
    while there are any.
    """

    def __init__(self, timeout: float, on_aborted: Callable[[], None]) -> None:
        self._timeout = timeout
        self._tick = min(TICK, timeout / 2)
        self._on_aborted = on_aborted
        self._stuck: dict[Reader, _Unsent] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unlogged = 0
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._stuck)

    def watch(self, reader: Reader) -> None:
        """Something is left in the buffer of `reader`."""
        loop = asyncio.get_running_loop()
        self._stuck[reader] = _Unsent(loop.time(), reader.unsent_bytes())
        if self._timer is None:
            self._timer = loop.call_later(self._tick, self._look)

    def forget(self, reader: Reader) -> None:
        """Its buffer is empty, or it is gone."""
        self._stuck.pop(reader, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = []
        for reader, unsent in self._stuck.items():
            unsent.take(reader.unsent_bytes())
            if not unsent.last:
                unsent.since = now  # nothing, or nothing that is judged here
            elif now - unsent.since > self._timeout + unsent.taken / LEAST_RATE:
                late.append(reader)
        for reader in late[:AT_ONCE]:
            self.forget(reader)
            reader.abort()
            self._on_aborted()
        self._log(now, min(len(late), AT_ONCE))
        self._timer = None
        if self._stuck:
            delay = NEXT if len(late) > AT_ONCE else self._tick
            self._timer = loop.call_later(delay, self._look)

    def _log(self, now: float, count: int) -> None:
        self._unlogged += count
        if self._unlogged and now - self._logged_at >= LOG_INTERVAL:
            structlog.get_logger(__name__).info("answers_not_read", connections=self._unlogged)
            self._unlogged, self._logged_at = 0, now
