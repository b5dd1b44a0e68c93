"""One Engine.IO connection: its outgoing queue, its heartbeat and its end.

It is synchronous wherever that is possible, so that no state is ever half changed:
frames are appended to a list which the engine writes out once a turn of the loop, the
heartbeat is one timer, and `close` is one call after which nothing refers to the
connection. What carries it is its `transport` (see `transports`).
"""

import asyncio
from typing import ClassVar, Final, Protocol

from chatserver.eio.clock import Clock, Timer
from chatserver.eio.frames import OVERSIZE_MARK
from chatserver.eio.observers import Observer
from chatserver.eio.polling import Polling
from chatserver.eio.protocol import (
    CLOSE,
    MAX_IDLE_PACKETS,
    MESSAGE_TOO_BIG,
    NOOP,
    PING_FRAME,
    POLL_WHILE_PROBING,
    PROTOCOL_ERROR,
    SERVICE_RESTART,
    Reason,
    Receiver,
)
from chatserver.eio.transports import OPENING, Transport
from chatserver.eio.websocket import BINARY_MARK, WebSocket

LEAST_RATE: Final = 4096
"""Bytes a second that a client takes at least while more than that waits for it."""


class Engine(Protocol):
    """Interface of a connection to its server."""

    clock: Clock
    observer: Observer
    ping_interval: float
    ping_timeout: float
    max_queue_bytes: int

    def schedule_flush(self, socket: "EngineSocket") -> None: ...

    def report(self, sid: str, kind: str) -> None: ...

    def forget(self, socket: "EngineSocket", reason: str) -> None: ...


class Upgrade(Protocol):
    """A websocket that may become the transport (see `probes`)."""

    def close(self, code: int) -> None: ...


class EngineSocket:
    """One client of the Engine.IO server, on polling or on a websocket.

    `name` is that of its transport, "polling" or "websocket". Frames (see `text_frame`)
    reach the client in the order of the `enqueue` calls. A client for which more
    than `max_queue_bytes` wait, or of whose queue neither all nor LEAST_RATE left in
    `ping_timeout` seconds, is dropped.
    """

    __slots__ = (
        "_dirty",
        "_due_bytes",
        "_engine",
        "_idle_packets",
        "_is_paused",
        "_out",
        "_out_bytes",
        "_pong_due",
        "_sent_bytes",
        "_timer",
        "_was_paused",
        "address",
        "closed",
        "is_leaving",
        "name",
        "probe",
        "receiver",
        "sid",
        "transport",
    )

    WEBSOCKET: ClassVar[str] = "websocket"  # the `name` that a websocket has
    PING: ClassVar[bytes] = PING_FRAME

    receiver: Receiver
    transport: Transport
    _timer: Timer

    def __init__(self, engine: Engine, sid: str, address: str, *, is_websocket: bool) -> None:
        self.sid = sid
        self.address = address
        self.name = self.WEBSOCKET if is_websocket else "polling"
        self.transport = OPENING if is_websocket else Polling(engine.clock, self._miss_client)
        self.closed = False
        self.is_leaving = False
        self.probe: Upgrade | None = None
        self._engine = engine
        self._dirty = False
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._sent_bytes = 0
        self._due_bytes = 0  # to have left us when the pong is due
        self._pong_due = False
        self._idle_packets = 0
        self._is_paused = False
        self._was_paused = False

    def start(self, receiver: Receiver) -> None:
        """Begin: give messages to `receiver`, and ping."""
        self.receiver = receiver
        self._timer = self._engine.clock.call_later(self._engine.ping_interval, self._send_ping)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for this client in our memory, frame headers included."""
        return self._out_bytes + self.transport.buffered

    # Sending

    def enqueue(self, frame: bytes) -> bool:
        """Append a frame; False when the client has gone. Never blocks, never raises."""
        if self.closed:
            return False
        self._out_bytes += len(frame)
        # Over the limit nothing more is kept; flush() then drops the client. It is not
        # done here because the caller may be iterating over a room.
        if self._out_bytes <= self._engine.max_queue_bytes:
            self._out.append(frame)
        if not self._dirty:
            self._dirty = True
            self._engine.schedule_flush(self)
        return True

    def flush(self) -> None:
        """Hand the queue to the transport, as far as that takes it."""
        self._dirty = False
        if self.closed or not self._out_bytes:
            return
        if self.queued_bytes > self._engine.max_queue_bytes:
            self.drop(Reason.TRANSPORT_ERROR, "queue_overflow")
            return
        count = self.transport.write(self._out)
        if count == len(self._out):
            self._sent_bytes += self._out_bytes
            self._out, self._out_bytes = [], 0
        elif count:
            size = sum(map(len, self._out[:count]))
            self._sent_bytes += size
            self._out_bytes -= size
            del self._out[:count]

    # Polling

    async def poll(self, polling: Polling, connection: asyncio.Transport | None) -> bytes:
        """The body for a poll that came in on `connection`; waits until there is one.

        Raises PollOverlap while another poll waits.
        """
        poll = polling.open(connection)
        self.flush()
        if self.probe is not None:
            self._engine.clock.call_later(POLL_WHILE_PROBING, self.release_poll, poll)
        try:
            return await poll
        finally:
            polling.abandon(poll)

    def release_poll(self, poll: "asyncio.Future[bytes] | None" = None) -> None:
        """End the waiting poll (only `poll`, if given), with packets or without."""
        self.flush()
        if isinstance(self.transport, Polling):
            self.transport.release(poll)

    def _miss_client(self, was_polling: bool) -> None:
        # Who upgrades or posts between two polls is alive: then the heartbeat is the judge.
        is_posting = isinstance(self.transport, Polling) and self.transport.is_posting
        if was_polling or not (self.probe is not None or is_posting):
            self.close(Reason.TRANSPORT_CLOSE)

    # Websockets

    def open(self, websocket: WebSocket) -> None:
        """Make `websocket` the transport and hear what comes on it."""
        if self.closed:
            websocket.close(1000)
            websocket.listen(self)
            return
        before, self.transport, self.name = self.transport, websocket, self.WEBSOCKET
        before.leave()
        if self._is_paused:
            websocket.pause()
        self.flush()
        websocket.listen(self)

    def upgrade(self, websocket: WebSocket) -> None:
        """Change over from polling to `websocket`."""
        self._engine.observer.socket_upgraded()
        self.open(websocket)

    def websocket_lost(self) -> None:
        """The connection of the websocket is gone (see `websocket.Listener`)."""
        self.close(Reason.TRANSPORT_CLOSE)

    # Receiving

    def receive_packet(self, data: bytes) -> None:
        """Handle one Engine.IO packet; a packet that is none closes the connection."""
        if self.closed:
            return
        kind = data[:1]
        if kind == b"4":
            if not self.is_leaving:
                self.receiver.receive(data[1:])
        elif kind == b"3":
            self.receive_pong()
        elif kind == CLOSE:
            self.close(Reason.CLIENT_DISCONNECT)
        elif kind == BINARY_MARK:
            if not self.is_leaving:
                self.receiver.receive_binary()
        elif kind == OVERSIZE_MARK:
            self._receive_head(data[1:])
        elif kind == NOOP:
            self.count_idle()
        else:
            self.refuse("invalid_packet", PROTOCOL_ERROR)

    def receive_control(self, *, is_pong: bool) -> None:
        """Take note of a ping or pong frame (see `websocket.Listener`)."""
        self.count_idle()

    def receive_pong(self) -> None:
        self._pong_due = False
        self.count_idle()

    def count_idle(self) -> None:
        """Count a packet that asks for nothing; too many of them end the connection."""
        self._idle_packets += 1
        if self._idle_packets > MAX_IDLE_PACKETS:
            self.drop(Reason.TRANSPORT_ERROR, "idle_packets")

    def _receive_head(self, head: bytes) -> None:
        """Handle the beginning of a packet that was too large."""
        if head[:1] != b"4":
            self.refuse("payload_too_large", MESSAGE_TOO_BIG)
        elif not self.is_leaving:
            self.receiver.receive_head(head[1:])

    def stop_receiving(self) -> None:
        """Drop what this client sends from now on, but for its heartbeat and its end.

        So nothing is half done: what had arrived is still answered, and what is dropped
        was never begun.
        """
        self.is_leaving = True

    def pause_reading(self) -> None:
        """Take no more packets from this client, pongs included, until resumed."""
        if not self._is_paused and not self.closed:
            self._is_paused = self._was_paused = True
            self.transport.pause()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume()

    # Heartbeat

    def _send_ping(self) -> None:
        self._pong_due = True
        self._idle_packets = 0
        self.enqueue(self.PING)
        self.flush()
        least = min(self.queued_bytes, int(LEAST_RATE * self._engine.ping_timeout))
        self._due_bytes = self._drained_bytes() + least
        self._timer = self._engine.clock.call_later(self._engine.ping_timeout, self._check_pong)

    def _check_pong(self) -> None:
        # A pong may lie behind what we refused to read: then this one is not missed.
        was_paused, self._was_paused = self._was_paused, self._is_paused
        if self._pong_due and not was_paused:
            self.drop(Reason.PING_TIMEOUT, "ping_timeout")
        elif self._drained_bytes() < self._due_bytes:
            self.drop(Reason.TRANSPORT_ERROR, "write_stalled")
        else:
            delay = max(self._engine.ping_interval - self._engine.ping_timeout, 0)
            self._timer = self._engine.clock.call_later(delay, self._send_ping)

    def _drained_bytes(self) -> int:
        """Number of bytes that have ever left our memory for this client."""
        return self._sent_bytes - self.transport.buffered

    # The end

    def close(self, reason: str, code: int = 1000) -> None:
        """Send what is queued, then end the connection; a websocket with `code`."""
        if self.closed:
            return
        is_final = reason != Reason.CLIENT_DISCONNECT and code != SERVICE_RESTART
        self.transport.end(self._out, code, is_final=is_final)
        self._end(reason)

    def refuse(self, kind: str, code: int) -> None:
        """Close because of what the client did; `kind` names it for the metrics."""
        if not self.closed:
            self._engine.report(self.sid, kind)
            self.close(Reason.TRANSPORT_ERROR, code)

    def drop(self, reason: str, kind: str) -> None:
        """End the connection at once and throw away what is queued; its client may come back."""
        if self.closed:
            return
        self._engine.report(self.sid, kind)
        self.transport.abort()
        self._end(reason)

    def _end(self, reason: str) -> None:
        self.closed = True
        self._timer.cancel()
        self._out, self._out_bytes = [], 0
        self.resume_reading()
        if self.probe is not None:
            self.probe.close(1000)
        self._engine.forget(self, reason)
        self.receiver.closed(reason)
