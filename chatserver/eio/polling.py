"""The polls of one session: the one that waits, and the connection on which it came."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from chatserver.eio.protocol import SEPARATOR

POLL_GAP: Final = 2.5
"""How long a client whose connection ended between two polls may take for the next, in
seconds: with presence.offline_grace others hear within 5 s that it has gone, and no
living client needs a round trip as long as this."""


class PollOverlap(Exception):
    """A second poll arrived while the first was waiting."""


class Polls:
    """At most one poll of a session waits at a time.

    `gone` is called when the client went away: with True when the connection of a waiting
    poll ended, with False when one ended between two polls and none followed in POLL_GAP.
    """

    __slots__ = ("_gap", "_gone", "_loop", "_transport", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, gone: Callable[[bool], None]) -> None:
        self._loop = loop
        self._gone = gone
        self._waiting: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._gap: asyncio.TimerHandle | None = None

    @property
    def can_take(self) -> bool:
        """Whether a poll waits to which something can be handed."""
        return self._waiting is not None and self._is_connected

    @property
    def _is_connected(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, transport: asyncio.Transport | None) -> None:
        """Take note of a poll that came in on `transport`; raises PollOverlap."""
        if self._waiting is not None:
            if not self._is_connected:
                self._gone(True)
            raise PollOverlap
        self._cancel_gap()
        self._transport = transport

    def open(self) -> "asyncio.Future[bytes]":
        """The poll that has begun waits from now on: what `end` gives it."""
        self._waiting = self._loop.create_future()
        return self._waiting

    def has(self, poll: "asyncio.Future[bytes] | None") -> bool:
        """Whether `poll`, or with None any poll, is the one that waits."""
        return self._waiting is not None and poll in (None, self._waiting)

    def abandon(self, poll: "asyncio.Future[bytes]") -> None:
        """Forget `poll` if it still waits: its request is over."""
        if self._waiting is poll:
            self._waiting = None

    def end(self, payloads: Sequence[bytes]) -> None:
        """Answer the poll that waits; nothing happens when there is none."""
        poll, self._waiting = self._waiting, None
        if poll is not None and not poll.done():
            poll.set_result(SEPARATOR.join(payloads))

    def lost(self, transport: asyncio.Transport | None, *, was_kept: bool) -> None:
        """Hear that the connection of a poll has ended; only the latest poll's counts.

        Between two polls a connection may end for many reasons; where it was not to be
        kept (`was_kept` False), its end says nothing.
        """
        if transport is not self._transport:
            return
        if self._waiting is not None:
            self._gone(True)
        elif was_kept and self._gap is None:
            self._gap = self._loop.call_later(POLL_GAP, self._miss)

    def close(self) -> None:
        """Watch nothing any longer."""
        self._cancel_gap()
        self._transport = None

    def _miss(self) -> None:
        self._gap = None
        self._gone(False)

    def _cancel_gap(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
