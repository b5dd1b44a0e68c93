"""One Engine.IO connection: its outgoing queue, its heartbeat and its end.

It stands in for `engineio.AsyncSocket` and is synchronous wherever that is possible,
so that no state is ever half changed: frames are appended to a list which the engine
writes out once a turn of the loop, the heartbeat is two timers, and `close` is one
call after which nothing refers to the connection.
"""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

from chatserver.eio.frames import OVERSIZE_MARK
from chatserver.eio.polling import Polls
from chatserver.eio.probes import Probe
from chatserver.eio.protocol import (
    CLOSE,
    MAX_IDLE_PACKETS,
    MAX_POLL_PACKETS,
    MESSAGE_TOO_BIG,
    NOOP,
    PING_FRAME,
    POLL_WHILE_PROBING,
    PROTOCOL_ERROR,
    SEPARATOR,
    SERVICE_RESTART,
    Reason,
    Receiver,
)
from chatserver.eio.websocket import BINARY_MARK, WebSocket, frame_payload

LEAST_RATE: Final = 4096
"""Bytes a second that a client takes at least while more than that waits for it."""

if TYPE_CHECKING:
    from chatserver.eio.server import EngineServer


class EngineSocket:
    """One client of the Engine.IO server, on polling or on a websocket.

    `transport` is "polling" or "websocket"; a socket that is still to become a
    websocket has `websocket` None and queues. Frames (see `text_frame`)
    reach the client in the order of the `enqueue` calls. A client for which more
    than `max_queue_bytes` wait, or of whose queue neither all nor LEAST_RATE left in
    `ping_timeout` seconds, is dropped.
    """

    __slots__ = (
        "_dirty",
        "_due_bytes",
        "_engine",
        "_gate",
        "_idle_packets",
        "_out",
        "_out_bytes",
        "_polls",
        "_pong_due",
        "_sent_bytes",
        "_timer",
        "_was_paused",
        "address",
        "closed",
        "is_leaving",
        "is_posting",
        "probe",
        "receiver",
        "session",
        "sid",
        "transport",
        "websocket",
    )

    WEBSOCKET: ClassVar[str] = "websocket"  # the `transport` that a websocket is
    PING: ClassVar[bytes] = PING_FRAME

    receiver: Receiver
    _timer: asyncio.TimerHandle

    def __init__(self, engine: "EngineServer", sid: str, address: str, transport: str) -> None:
        self.sid = sid
        self.address = address
        self.transport = transport
        self.closed = False
        self.is_leaving = False
        self.is_posting = False
        self.session: dict[str, Any] = {}
        self.websocket: WebSocket | None = None
        self._engine = engine
        self._dirty = False
        self._gate: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._sent_bytes = 0
        self._due_bytes = 0  # to have left us when the pong is due
        self._polls = Polls(engine.loop, self._miss_client)
        self.probe: Probe | None = None
        self._pong_due = False
        self._idle_packets = 0
        self._was_paused = False

    def start(self, receiver: Receiver) -> None:
        """Begin: give messages to `receiver`, and ping."""
        self.receiver = receiver
        self._timer = self._engine.loop.call_later(self._engine.ping_interval, self._send_ping)

    @property
    def upgraded(self) -> bool:
        """Whether the transport is a websocket; the name is python-engineio's."""
        return self.websocket is not None

    @property
    def is_upgrading(self) -> bool:
        return self.probe is not None

    @property
    def queued_bytes(self) -> int:
        """What waits for this client in our memory, frame headers included."""
        return self._out_bytes + (0 if self.websocket is None else self.websocket.buffered)

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
        elif self.websocket is not None:
            self.websocket.write(self._out)
            self._sent_bytes += self._out_bytes
            self._out, self._out_bytes = [], 0
        else:
            self._wake_poll()

    def take(self, *, everything: bool = False) -> list[bytes]:
        """Remove the payloads for the next polling body from the queue."""
        count = len(self._out) if everything else MAX_POLL_PACKETS
        frames = self._out[:count]
        del self._out[:count]
        size = sum(map(len, frames))
        self._out_bytes -= size
        self._sent_bytes += size
        return [frame_payload(frame) for frame in frames]

    async def poll(self, transport: asyncio.Transport | None) -> bytes:
        """The body for a poll that came in on `transport`; waits until there is one.

        Raises PollOverlap while another poll waits.
        """
        self._polls.begin(transport)
        if self._out:
            return SEPARATOR.join(self.take())
        poll = self._polls.open()
        if self.is_upgrading:
            self._engine.loop.call_later(POLL_WHILE_PROBING, self.release_poll, poll)
        try:
            return await poll
        finally:
            self._polls.abandon(poll)

    def poll_lost(self, transport: asyncio.Transport | None, *, was_kept: bool) -> None:
        """Hear that the connection of a poll has ended (see `Polls.lost`)."""
        if self.websocket is None:
            self._polls.lost(transport, was_kept=was_kept)

    def _miss_client(self, was_polling: bool) -> None:
        # Who upgrades or posts between two polls is alive: then the heartbeat is the judge.
        if was_polling or not (self.is_upgrading or self.is_posting):
            self.close(Reason.TRANSPORT_CLOSE)

    def _wake_poll(self) -> None:
        # What is handed to a poll whose connection broke would be lost.
        if self._polls.can_take:
            self._polls.end(self.take())

    def release_poll(self, poll: "asyncio.Future[bytes] | None" = None) -> None:
        """End the waiting poll (only `poll`, if given), with packets or without."""
        if self._polls.has(poll):
            packets = self.take() if self._polls.can_take else []
            self._polls.end(packets or [NOOP])

    # Receiving

    def open(self, websocket: WebSocket) -> None:
        """Make `websocket` the transport and hear what comes on it."""
        if self.closed:
            websocket.close(1000)
            websocket.listen(self)
            return
        self.websocket, self.transport = websocket, self.WEBSOCKET
        self._polls.close()
        self.release_poll()
        self.flush()
        if self._gate is not None:
            websocket.pause()
        websocket.listen(self)

    def probe_by(self, websocket: WebSocket) -> None:
        """Let the client say on `websocket` whether it changes over to it."""
        engine = self._engine
        self.probe = probe = Probe(self, websocket, engine.loop, engine.upgrade_timeout)
        if self.closed:
            probe.close()
        websocket.listen(probe)

    def upgrade(self, websocket: WebSocket) -> None:
        """Change over from polling to `websocket`."""
        self._engine.observer.socket_upgraded()
        self.open(websocket)

    def websocket_lost(self) -> None:
        """The connection of the websocket is gone (see `websocket.Listener`)."""
        self.close(Reason.TRANSPORT_CLOSE)

    def receive_control(self, *, is_pong: bool) -> None:
        """Take note of a ping or pong frame (see `websocket.Listener`)."""
        self.count_idle()

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
        if self._gate is None and not self.closed:
            self._was_paused = True
            self._gate = self._engine.loop.create_future()
            if self.websocket is not None:
                self.websocket.pause()

    def resume_reading(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None and not gate.done():
            gate.set_result(None)
            if self.websocket is not None:
                self.websocket.resume()

    async def wait_readable(self) -> None:
        """Wait while reading is paused."""
        if self._gate is not None:
            await asyncio.shield(self._gate)

    # Heartbeat

    def _send_ping(self) -> None:
        self._pong_due = True
        self._idle_packets = 0
        self.enqueue(self.PING)
        self.flush()
        least = min(self.queued_bytes, int(LEAST_RATE * self._engine.ping_timeout))
        self._due_bytes = self._drained_bytes() + least
        self._timer = self._engine.loop.call_later(self._engine.ping_timeout, self._check_pong)

    def _check_pong(self) -> None:
        # A pong may lie behind what we refused to read: then this one is not missed.
        was_paused, self._was_paused = self._was_paused, self._gate is not None
        if self._pong_due and not was_paused:
            self.drop(Reason.PING_TIMEOUT, "ping_timeout")
        elif self._drained_bytes() < self._due_bytes:
            self.drop(Reason.TRANSPORT_ERROR, "write_stalled")
        else:
            delay = max(self._engine.ping_interval - self._engine.ping_timeout, 0)
            self._timer = self._engine.loop.call_later(delay, self._send_ping)

    def _drained_bytes(self) -> int:
        """How many bytes have left our memory for this client, ever."""
        return self._sent_bytes - (0 if self.websocket is None else self.websocket.buffered)

    # The end

    def close(self, reason: str, code: int = 1000) -> None:
        """Send what is queued, then end the connection; a websocket with `code`.

        A poll hears of the end by CLOSE, after which some clients never come back. Where
        they shall, it ends with NOOP, and the next poll finds the session unknown.
        """
        if self.closed:
            return
        if self.websocket is not None:
            if self._out:
                self.websocket.write(self._out)
            self.websocket.close(code)
        else:
            is_final = reason != Reason.CLIENT_DISCONNECT and code != SERVICE_RESTART
            self._polls.end([*self.take(everything=True), CLOSE if is_final else NOOP])
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
        if self.websocket is not None:
            self.websocket.abort()
        else:
            self._polls.end([NOOP])
        self._end(reason)

    def _end(self, reason: str) -> None:
        self.closed = True
        self._timer.cancel()
        self._polls.close()
        self._out, self._out_bytes = [], 0
        self.resume_reading()
        if self.probe is not None:
            self.probe.close(1000)
        self._engine.forget(self, reason)
        self.receiver.closed(reason)
