"""One raw websocket: a client of the namespace that has joined its one conversation."""

import random
from collections.abc import Mapping
from typing import Any, Final

from chatserver.eio.handshakes import Environ
from chatserver.eio.protocol import POLICY_VIOLATION, SERVICE_RESTART, Reason
from chatserver.eio.session import EngineSocket
from chatserver.errors import ChatError, Forbidden
from chatserver.realtime.raw_frames import (
    Reworded,
    Rewording,
    error_frame,
    message_frame,
    read_frame,
)
from chatserver.sio import packets
from chatserver.sio.client import Client
from chatserver.sio.packets import Packet
from chatserver.sio.server import SocketServer

INTERNAL_ERROR: Final = 1011

PATIENCE: Final = 1.0
"""Seconds that what a `head` tells of may still come by itself; events overtake each other."""

MAX_AHEAD: Final = 1000
MAX_ECHOES: Final = 100

_OUR_FAULT: Final = ("internal_error", "unavailable")


class Revisions:
    """Changes of the conversation (`rev`) that a client has been told of."""

    __slots__ = ("_ahead", "_known")

    def __init__(self) -> None:
        self._known: int | None = None
        self._ahead: set[int] = set()

    def begin(self, rev: int) -> None:
        """Everything up to `rev` is in the history that the client reads."""
        self._known = rev
        self._advance()

    def add(self, rev: int) -> None:
        # Beyond the bound there is a gap in any case: the next `has_all` finds it.
        if (self._known is None or rev > self._known) and len(self._ahead) < MAX_AHEAD:
            self._ahead.add(rev)
            self._advance()

    def has_all(self, rev: int) -> bool:
        return self._known is not None and self._known >= rev

    def _advance(self) -> None:
        if self._known is not None:
            while self._known + 1 in self._ahead:
                self._known += 1
            self._ahead = {rev for rev in self._ahead if rev > self._known}


class Echoes:
    """Keeps a message of the client's own from being shown to it twice.

    A send is answered with its message, at once; the event of that message comes to the
    client, too, mostly after the answer, but before it or not at all where another node
    had sent it.
    """

    __slots__ = ("_answered", "_shown")

    def __init__(self) -> None:
        self._answered: dict[str, None] = {}
        self._shown: set[str] | None = None

    def begin(self) -> None:
        """An event of the client begins: what is shown until `end` may be of it."""
        self._shown = set()

    def end(self) -> None:
        self._shown = None

    def is_due(self, message_id: str) -> bool:
        """Return whether an event with that message is still to be shown."""
        if message_id in self._answered:
            del self._answered[message_id]
            return False
        if self._shown is not None:
            self._shown.add(message_id)
        return True

    def answer(self, message_id: str) -> bool:
        """Return whether the send that became that message is still to be answered with it."""
        if self._shown is not None and message_id in self._shown:
            return False
        self._answered[message_id] = None
        if len(self._answered) > MAX_ECHOES:
            del self._answered[next(iter(self._answered))]
        return True


class RawClient(Client):
    """A `Client` whose client speaks the raw frames.

    To the namespace it is a socket like any other, which connects, joins, and sends
    three kinds of events. What is delivered to it is reworded; what is not of its
    conversation, it does not hear of. Who is refused is told by an `error` frame and the
    close code 1008, or 1011 where it was not the client's fault.
    """

    __slots__ = ("_conversation_id", "_echoes", "_revisions", "_rewording")

    def __init__(
        self,
        server: SocketServer,
        socket: EngineSocket,
        environ: Environ,
        conversation_id: str,
        rewording: Rewording,
    ) -> None:
        super().__init__(server, socket, environ)
        self._conversation_id = conversation_id
        self._rewording = rewording
        self._revisions = Revisions()
        self._echoes = Echoes()

    # Receiving

    def connect(self, token: str | None) -> None:
        """Begin. Frames that arrive before it is done wait for it."""
        self._receive_connect(Packet(packets.CONNECT, {"token": token}), 0)

    def receive(self, data: bytes) -> None:
        if not self.has_left:
            self._put(Packet(packets.EVENT, data), len(data))

    async def _handle_connect(self, auth: dict[str, Any] | None) -> None:
        await super()._handle_connect(auth)
        if self.is_connected and not self.has_left:
            await self._join()

    async def _join(self) -> None:
        payload = {"conversation_id": self._conversation_id}
        answer = await self._ask("join", payload)
        if not answer["ok"]:
            self._refuse_with(answer["error"])
            return
        self._revisions.begin(answer["conversation"]["rev"])

    async def _ask(self, event: str, payload: Any) -> Any:
        """The namespace's acknowledgement, which the contract gives one value."""
        (answer,) = await self._server.run_event(self, event, [payload]) or ()
        return answer

    async def _handle_event(self, packet: Packet) -> None:
        if not self.is_connected:
            return
        request = read_frame(packet.data, self._conversation_id)
        self._echoes.begin()
        # A frame that is none goes there, too: it counts, and is limited, like any event.
        answer = await self._ask(request.event, request.payload)
        if not answer["ok"]:
            error = answer["error"]
            if request.error is not None and error["code"] == "unknown_event":
                error = request.error.to_dict()
            self.socket.enqueue(error_frame(error, request.client_msg_id))
        elif request.event == "message":
            message = message_frame(answer["message"])
            if self._echoes.answer(message.data["id"]):
                self._tell(message)
        self._echoes.end()

    # Sending

    def deliver(self, frame: bytes) -> bool:
        event = self._rewording.reword(frame)
        if event is None or event.conversation_id not in (None, self._conversation_id):
            return False
        if event.event == "head":
            self._look_for_gap(event.data["rev"])
            return True
        if event.event == "message" and not self._echoes.is_due(event.data["id"]):
            return True
        return self._tell(event)

    def _tell(self, event: Reworded) -> bool:
        if "rev" in event.data:
            self._revisions.add(event.data["rev"])
        return event.frame is not None and super().deliver(event.frame)

    def _look_for_gap(self, rev: int) -> None:
        """Something may have been missed. It cannot ask what, so it has to come again."""
        if not self._revisions.has_all(rev):
            # So that not all come at once.
            delay = PATIENCE * random.uniform(1, 2)  # noqa: S311
            self._server.clock.call_later(delay, self._close_gap, rev)

    def _close_gap(self, rev: int) -> None:
        if not self.has_left and not self._revisions.has_all(rev):
            self.socket.close(Reason.SERVER_DISCONNECT, SERVICE_RESTART)

    # The end

    def _tell_connected(self) -> None:
        """There is no frame for it: the websocket is open."""

    def refuse(self, error: ChatError) -> None:
        """End the session for good, because of `error`; nothing happens for one that has gone."""
        if not self.has_left:
            self._refuse_with(error.to_dict())

    def _tell_refused(self, refusal: Mapping[str, Any]) -> None:
        self._refuse_with(refusal.get("data") or Forbidden(refusal["message"]).to_dict())

    def _refuse_with(self, error: dict[str, Any]) -> None:
        self.socket.enqueue(error_frame(error))
        is_our_fault = error["code"] in _OUR_FAULT
        code = INTERNAL_ERROR if is_our_fault else POLICY_VIOLATION
        self.disconnect(Reason.SERVER_DISCONNECT, code)

    def _tell_disconnected(self) -> None:
        """The close code tells it."""

    def disconnect(self, reason: str, code: int = POLICY_VIOLATION) -> None:
        """End the session for good: what is queued is sent, then the close code."""
        super().disconnect(reason)
        self.socket.close(reason, code)
