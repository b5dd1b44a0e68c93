"""The heartbeat of a connection, on a clock that the test moves: there is no event loop."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from chatserver.eio.protocol import PING_FRAME, Reason
from chatserver.eio.server import Edge, EngineServer
from chatserver.eio.session import LEAST_RATE, EngineSocket
from tests.unit.realtime.wire import SETTINGS, Counts

INTERVAL, TIMEOUT = SETTINGS.ping_interval, SETTINGS.ping_timeout


class Call:
    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    """A `Clock` whose time passes in `advance`, and whose calls run there."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._calls: list[tuple[float, int, Call]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Call:
        return self.call_later(0.0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Call:
        call = Call(lambda: callback(*args))
        heapq.heappush(self._calls, (self.now + delay, next(self._order), call))
        return call

    def create_task(self, coro: Any) -> Any:
        raise AssertionError(coro)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self._calls)
            if not call.is_cancelled:
                call.run()
        self.now = end


class Wire:
    """A `Transport` to a peer that takes what `room` allows."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.buffered = 0
        self.is_over = self.is_paused = False

    def write(self, frames: Sequence[bytes]) -> int:
        self.sent += frames
        return len(frames)

    def end(self, frames: Sequence[bytes], code: int, *, is_final: bool) -> None:
        self.is_over = True

    def abort(self) -> None:
        self.is_over = True

    def leave(self) -> None: ...

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class Nobody:
    """A `Receiver` that remembers why the connection ended."""

    is_busy = False
    reason = ""

    def receive(self, data: bytes) -> None: ...

    def receive_binary(self) -> None: ...

    def receive_head(self, head: bytes) -> None: ...

    def closed(self, reason: str) -> None:
        self.reason = reason


class Connection:
    def __init__(self) -> None:
        self.clock, self.counts, self.wire = ManualClock(), Counts(), Wire()
        edge = Edge(lambda _: True, lambda _: "", lambda *_: None, body_timeout=1.0)
        self.receiver = Nobody()
        server = EngineServer(SETTINGS, edge, lambda *_: self.receiver, self.counts, self.clock)
        self.socket = EngineSocket(server, "sid", "", is_websocket=True)
        server.start(self.socket, self.receiver)
        self.socket.transport = self.wire


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_a_client_that_answers_is_pinged_for_ever(connection: Connection) -> None:
    for number in range(1, 1000):
        connection.clock.advance(INTERVAL)
        assert connection.wire.sent == [PING_FRAME] * number
        connection.socket.receive_packet(b"3")
    assert not connection.socket.closed


def test_a_client_that_does_not_answer_is_dropped_in_time(connection: Connection) -> None:
    connection.clock.advance(INTERVAL + TIMEOUT - 0.001)
    assert not connection.socket.closed
    connection.clock.advance(0.001)
    assert (connection.wire.is_over, connection.receiver.reason) == (True, Reason.PING_TIMEOUT)
    assert connection.counts.errors == ["ping_timeout"]


def test_a_pong_that_waits_behind_what_is_not_read_is_not_missed(connection: Connection) -> None:
    connection.clock.advance(INTERVAL)
    connection.socket.pause_reading()
    assert connection.wire.is_paused
    connection.clock.advance(TIMEOUT)
    assert not connection.socket.closed
    connection.socket.resume_reading()
    connection.clock.advance(INTERVAL + TIMEOUT)
    assert not connection.wire.is_paused
    connection.clock.advance(INTERVAL + TIMEOUT)
    assert connection.receiver.reason == Reason.PING_TIMEOUT


@pytest.mark.parametrize("is_moving", [False, True])
def test_a_client_has_to_take_what_waits_for_it(connection: Connection, is_moving: bool) -> None:
    wire, per_ping = connection.wire, int(LEAST_RATE * TIMEOUT)
    wire.buffered = 5 * per_ping
    connection.clock.advance(INTERVAL)
    connection.socket.receive_packet(b"3")
    wire.buffered -= per_ping if is_moving else per_ping - 1
    connection.clock.advance(TIMEOUT)
    assert connection.socket.closed is not is_moving
    assert connection.counts.errors == ([] if is_moving else ["write_stalled"])
