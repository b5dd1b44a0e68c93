"""One Socket.IO client: from CONNECT through its events, in order, to the disconnect.

Everything that takes time goes through one queue and one task, which lives only
while the queue is not empty: CONNECT, events, and the end of the connection are
handled strictly one after the other in the order in which they arrived. So a connect
handler that outlives its client, a disconnect during an event and a disconnect
handler that comes twice are not races that need care but cannot happen.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final

from chatserver.eio.handshakes import Environ
from chatserver.eio.protocol import POLICY_VIOLATION, Reason
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import text_frame
from chatserver.sio import packets
from chatserver.sio.host import Host
from chatserver.sio.packets import EventRefused, InvalidPacket, Packet

# How long a client that was refused or disconnected keeps its connection, in seconds:
# enough to read why, on polling too.
LINGER: Final = 2.0

_IN_ONE_TURN: Final = 8
"""Events of a client after which everybody else has a turn of the event loop."""


class _Phase(Enum):
    """Phase of a client: which packets it may send next."""

    NEW = auto()  # CONNECT
    OPEN = auto()  # events, DISCONNECT
    OVER = auto()  # nothing that we would read


class Client:
    """The Socket.IO side of one connection: a `protocol.Receiver`.

    `is_connected` is true from when the connect handler has accepted until the
    disconnect handler is called; `has_left` from when the client must receive nothing
    more, which can be long before that. `sid` is empty until CONNECT is handled.
    `environ` is there until the connect handler has returned: it may hold a token.
    """

    __slots__ = (
        "_attachments_due",
        "_held",
        "_held_bytes",
        "_phase",
        "_queue",
        "_queue_bytes",
        "_reason",
        "_server",
        "_timer",
        "_worker",
        "environ",
        "has_left",
        "is_connected",
        "rooms",
        "session",
        "sid",
        "socket",
    )

    def __init__(self, server: Host["Client"], socket: EngineSocket, environ: Environ) -> None:
        self.sid = ""
        self.socket = socket
        self.environ: Environ | None = environ
        self.rooms: set[str] = set()
        self.session: dict[str, Any] = {}
        self.is_connected = False
        self.has_left = False
        self._server = server
        self._phase = _Phase.NEW
        self._attachments_due = 0
        self._queue: list[tuple[Packet | None, int]] = []  # None is the end
        self._queue_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._held: list[bytes] | None = []
        self._held_bytes = 0
        self._reason = Reason.TRANSPORT_CLOSE
        self._timer = server.clock.call_later(server.connect_timeout, self._miss_connect)

    @property
    def is_busy(self) -> bool:
        return self._worker is not None or bool(self._queue)

    # Sending

    def deliver(self, frame: bytes) -> bool:
        """Queue an event for the client; whether it can still get it.

        What is delivered while the connect handler runs follows the answer to it.
        The adapter never calls this for a client that has left.
        """
        if self._held is None:
            return self.socket.enqueue(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > self._server.max_queue_bytes:
            drop = self.socket.drop
            self._server.clock.call_soon(drop, Reason.TRANSPORT_ERROR, "queue_overflow")
            return False
        self._held.append(frame)
        return True

    def _send(self, packet: bytes) -> None:
        self.socket.enqueue(text_frame(packet))

    def _tell_connected(self) -> None:
        self._send(packets.encode_connect(self.sid))

    def _tell_refused(self, refusal: Mapping[str, Any]) -> None:
        """Answer a CONNECT that the handler refused with `{message, data?}`."""
        self._send(packets.encode_connect_error(refusal))

    def _tell_disconnected(self) -> None:
        self._send(packets.encode_disconnect())

    # Receiving

    def receive(self, data: bytes) -> None:
        if self._phase is not _Phase.OVER:
            self._receive(Packet.decode, data)

    def receive_head(self, head: bytes) -> None:
        """Have an event that was too large answered (see `Receiver`)."""
        if self._phase is not _Phase.OVER:
            self._receive(Packet.decode_head, head)

    def receive_binary(self) -> None:
        """Drop an attachment that was announced (see `Receiver`); any other is an offence."""
        if self._phase is _Phase.OVER:
            return
        if self._attachments_due:
            self._attachments_due -= 1
        else:
            self._refuse(InvalidPacket("binary"))

    def _receive(self, decode: Callable[[bytes], Packet], data: bytes) -> None:
        try:
            packet = decode(data)
        except InvalidPacket as error:
            self._refuse(error)
            return
        if self._attachments_due:  # they come before anything else
            self._refuse(InvalidPacket())
            return
        kind = packet.kind
        if packet.namespace != "/":
            self._receive_elsewhere(packet)
        elif kind == packets.CONNECT:
            self._receive_connect(packet, len(data))
        elif self._phase is _Phase.NEW:
            self._refuse(InvalidPacket())
        elif kind in (packets.EVENT, packets.BINARY_EVENT):
            self._attachments_due = packet.attachments_due
            self._put(packet, len(data))
        elif kind in (packets.ACK, packets.BINARY_ACK):
            self._attachments_due = packet.attachments_due
            self._receive_ack(packet)
        elif kind == packets.DISCONNECT:
            self._phase = _Phase.OVER
            self._put(packet, len(data))

    def _receive_connect(self, packet: Packet, size: int) -> None:
        if self._phase is not _Phase.NEW:
            self._refuse(InvalidPacket())
            return
        self._timer.cancel()
        self._phase = _Phase.OPEN
        self._put(packet, size)

    def _receive_ack(self, packet: Packet) -> None:
        """At once, not in its turn: a handler of this client may be waiting for it."""
        take = self._server.application.acknowledge
        if packet.id is None or packet.refusal or not take(self, packet.id, packet.data):
            self.socket.count_idle()

    def _receive_elsewhere(self, packet: Packet) -> None:
        """Another namespace than "/": there is none."""
        if packet.kind == packets.CONNECT:
            self.socket.count_idle()
            refusal = {"message": "Invalid namespace"}
            self._send(packets.encode_connect_error(refusal, packet.namespace))
        else:
            self._refuse(InvalidPacket())

    def _refuse(self, error: InvalidPacket) -> None:
        """Close because of a packet; an event whose id could be read is answered first."""
        if error.ack_id is not None and self._phase is _Phase.OPEN:
            refused = EventRefused("invalid_payload", "The packet is not valid JSON.")
            self._send(packets.encode_ack(error.ack_id, [self._server.answers.ack(refused)]))
        self._clear_queue()
        self.socket.refuse(error.kind, error.close_code)

    def _miss_connect(self) -> None:
        self.socket.refuse("connect_timeout", POLICY_VIOLATION)

    # The queue

    def _put(self, entry: Packet | None, size: int) -> None:
        self._queue.append((entry, size))
        self._queue_bytes += size
        if self._worker is None:
            self._start_worker()
        if self._is_full():
            self.socket.pause_reading()

    def _is_full(self) -> bool:
        server = self._server
        too_many = len(self._queue) >= server.max_pending_events
        return too_many or self._queue_bytes >= server.max_pending_bytes

    def _clear_queue(self) -> None:
        self._queue.clear()
        self._queue_bytes = 0
        self.socket.resume_reading()

    def _start_worker(self) -> None:
        self._worker = self._server.spawn(self._work(), self._end_worker)

    def _end_worker(self) -> None:
        # Something may have arrived since the task looked last, or the task may have
        # been cancelled before it began.
        self._worker = None
        if self._queue:
            self._start_worker()

    async def _work(self) -> None:
        handled = 0
        while self._queue:
            entry, size = self._queue.pop(0)
            self._queue_bytes -= size
            if not self._is_full():
                self.socket.resume_reading()
            await self._handle(entry)
            handled += 1
            if not handled % _IN_ONE_TURN:
                await asyncio.sleep(0)  # nothing has waited where all were refused

    async def _handle(self, entry: Packet | None) -> None:
        if entry is None:
            await self._finish()
        elif entry.kind in (packets.EVENT, packets.BINARY_EVENT):
            await self._handle_event(entry)
        elif entry.kind == packets.CONNECT:
            await self._handle_connect(entry.data)
        else:
            self._leave(Reason.CLIENT_DISCONNECT)
            await self._finish()

    async def _handle_connect(self, auth: dict[str, Any] | None) -> None:
        if self.socket.closed:
            return
        server = self._server
        self.sid = server.generate_id()
        server.add_client(self)
        try:
            refusal = await server.run_connect(self, auth)
        finally:
            self.environ = None
        if refusal is not None:
            self._leave(Reason.SERVER_DISCONNECT)
            server.forget_client(self)
            self._tell_refused(refusal)
            return
        self.is_connected = True
        if not self.has_left:
            held, self._held = self._held or [], None
            self._tell_connected()
            for frame in held:
                self.socket.enqueue(frame)

    async def _handle_event(self, packet: Packet) -> None:
        if not self.is_connected:  # it was refused, or has been disconnected
            return
        server, values = self._server, None
        if packet.refusal is None:
            name, *args = packet.data
            values = await server.run_event(self, name, args)
        else:
            server.observer.error(packet.refusal.kind)
            values = [server.answers.ack(packet.refusal)]
        if values is None or self.socket.closed:
            return
        try:
            self._answer(packet.id, values)
        except TypeError as error:
            server.log_failure(self, "acknowledgement", error)
            self._answer(packet.id, [server.answers.ack(error)])

    def _answer(self, ack_id: int | None, values: Sequence[Any]) -> None:
        """Acknowledge an event; raises TypeError for what JSON cannot hold."""
        if ack_id is not None:
            self._send(packets.encode_ack(ack_id, values))
        elif (told := self._server.answers.unasked(values)) is not None:
            self._send(packets.encode_event(*told))

    async def _finish(self) -> None:
        """Run the disconnect handler if it is due, and let go of everything."""
        was_connected, self.is_connected = self.is_connected, False
        try:
            if was_connected:
                await self._server.run_disconnect(self, self._reason)
        finally:
            self._server.forget_client(self)

    # The end

    def disconnect(self, reason: str) -> None:
        """Tell the client that the server ends this session; JS clients then stay away.

        Delivery stops at once, events not begun are dropped, and the disconnect
        handler runs when the handler that is running now, if any, has returned.
        """
        if self.has_left:
            return
        self._clear_queue()
        self._tell_disconnected()
        self._leave(reason)
        self._put(None, 0)

    def closed(self, reason: str) -> None:
        """The connection is gone (see `Receiver`)."""
        if not self.has_left:
            self._leave(reason)
        self._timer.cancel()
        if self._worker is not None or self.is_connected:
            self._put(None, 0)

    def _leave(self, reason: str) -> None:
        """Deliver nothing more, read nothing more; the connection ends in LINGER seconds."""
        self.has_left = True
        self._phase = _Phase.OVER
        self._reason = reason
        self._held = None
        self._server.remove_from_rooms(self)
        self._timer.cancel()
        if not self.socket.closed:
            server = self._server
            self._timer = server.clock.call_later(server.linger, self.socket.close, reason)

    def cancel_handler(self) -> None:
        """Cancel the connect or event handler that is running; the rest still runs."""
        if self._worker is not None and (self.is_connected or self._held is not None):
            self._worker.cancel()
