"""The polling transport of one session: the poll that waits, and its connection."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from chatserver.eio.clock import Clock, Timer
from chatserver.eio.protocol import CLOSE, MAX_POLL_PACKETS, NOOP, SEPARATOR
from chatserver.eio.websocket import frame_payload

POLL_GAP: Final = 2.5
"""Time that a client whose connection ended between two polls may take for the next, in
seconds: with presence.offline_grace others hear within 5 s that it has gone, and no
living client needs a round trip as long as this."""


class PollOverlap(Exception):
    """A second poll arrived while the first was waiting."""


class Polling:
    """The `Transport` of a session on long-polling: at most one poll waits at a time.

    `gone` is called when the client went away: with True when the connection of a waiting
    poll ended, with False when one ended between two polls and none followed in POLL_GAP.
    """

    __slots__ = ("_clock", "_connection", "_gap", "_gate", "_gone", "_waiting", "is_posting")

    buffered: ClassVar[int] = 0

    def __init__(self, clock: Clock, gone: Callable[[bool], None]) -> None:
        self.is_posting = False
        self._clock = clock
        self._gone = gone
        self._waiting: asyncio.Future[bytes] | None = None
        self._connection: asyncio.Transport | None = None
        self._gap: Timer | None = None
        self._gate: asyncio.Future[None] | None = None

    # Sending

    def open(self, connection: asyncio.Transport | None) -> "asyncio.Future[bytes]":
        """The body for a poll that came in on `connection`, once there is one.

        Raises PollOverlap while another poll waits.
        """
        if self._waiting is not None:
            if not self._is_connected:
                self._gone(True)
            raise PollOverlap
        self._cancel_gap()
        self._connection = connection
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def abandon(self, poll: "asyncio.Future[bytes]") -> None:
        """Forget `poll` if it still waits: its request is over."""
        if self._waiting is poll:
            self._waiting = None

    def release(self, poll: "asyncio.Future[bytes] | None" = None) -> None:
        """End the waiting poll (only `poll`, if given) with nothing."""
        if poll in (None, self._waiting):
            self._answer([NOOP])

    def write(self, frames: Sequence[bytes]) -> int:
        # What is handed to a poll whose connection broke would be lost.
        if self._waiting is None or not self._is_connected or not frames:
            return 0
        payloads = [frame_payload(frame) for frame in frames[:MAX_POLL_PACKETS]]
        self._answer(payloads)
        return len(payloads)

    def _answer(self, payloads: Sequence[bytes]) -> None:
        poll, self._waiting = self._waiting, None
        if poll is not None and not poll.done():
            poll.set_result(SEPARATOR.join(payloads))

    # Receiving

    def pause(self) -> None:
        if self._gate is None:
            self._gate = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None and not gate.done():
            gate.set_result(None)

    async def wait_readable(self) -> None:
        """Wait while reading is paused."""
        if self._gate is not None:
            await asyncio.shield(self._gate)

    # The end

    def connection_lost(self, connection: asyncio.Transport | None, *, was_kept: bool) -> None:
        """Hear that the connection of a poll has ended; only the latest poll's counts.

        Between two polls a connection may end for many reasons; where it was not to be
        kept (`was_kept` False), its end says nothing.
        """
        if connection is not self._connection:
            return
        if self._waiting is not None:
            self._gone(True)
        elif was_kept and self._gap is None:
            self._gap = self._clock.call_later(POLL_GAP, self._miss)

    def end(self, frames: Sequence[bytes], code: int, *, is_final: bool) -> None:
        last = CLOSE if is_final else NOOP
        self._answer([*map(frame_payload, frames), last])
        self._forget()

    def abort(self) -> None:
        self.leave()

    def leave(self) -> None:
        self._answer([NOOP])
        self._forget()

    def _forget(self) -> None:
        """Watch nothing any longer."""
        self._cancel_gap()
        self._connection = None
        self.resume()

    @property
    def _is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closing()

    def _miss(self) -> None:
        self._gap = None
        self._gone(False)

    def _cancel_gap(self) -> None:
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
