"""The raw websocket's frames: a client's as events, and the server's events as frames."""

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from chatserver.eio.websocket import BINARY_MARK, frame_payload, text_frame
from chatserver.errors import ChatError, InvalidPayload
from chatserver.schemas.frames import FRAMES, with_conversation
from chatserver.schemas.loaders import Loader
from chatserver.sio.packets import EVENT_PREFIX, loads

NO_EVENT: Final = "invalid_frame"
"""The event that a frame stands for which is none: the namespace knows no such event."""

# Events whose payload is `data` in the frame, those whose members are beside `type` as
# well, and those that a client is not told of.
_OBJECTS: Final = ("message", "message_updated", "message_deleted", "delivery_receipt", "error")
_MEMBERS: Final = ("typing", "presence", "read_receipt")
_HEAD: Final = "head"
_CONVERSATION: Final = "conversation"

_LOADERS: Final = {name: Loader(schema()) for name, schema in FRAMES.items()}
# Anything else that a client calls a client_msg_id is not repeated to it.
_KEY: Final = re.compile(r"[0-9a-fA-F-]{1,36}")


@dataclass(frozen=True, slots=True)
class Request:
    """A client's frame: the event and the payload of it, or the `error` in it.

    `client_msg_id` is what a failure of it is told with, if there is one.
    """

    event: str
    payload: Any = None
    error: ChatError | None = None
    client_msg_id: str | None = None


def read_frame(data: bytes, conversation_id: str) -> Request:
    """Parse what a client of that conversation asks; `data` as `WebSocket.receive` has it."""
    if data == BINARY_MARK:
        return Request(NO_EVENT, error=InvalidPayload("Frames are text, not binary."))
    try:
        frame = loads(data)
    except ValueError:
        return Request(NO_EVENT, error=InvalidPayload("The frame is not valid JSON."))
    if not isinstance(frame, dict):
        return Request(NO_EVENT, error=InvalidPayload("A frame must be an object.", fields={}))
    kind, client_msg_id = frame.get("type"), _key_of(frame)
    if not isinstance(kind, str) or kind not in FRAMES:
        problem = f"Must be one of: {', '.join(FRAMES)}."
        error: ChatError = InvalidPayload(fields={"type": [problem]})
        return Request(NO_EVENT, error=error, client_msg_id=client_msg_id)
    try:
        _LOADERS[kind].load(frame)
    except ChatError as bad:
        return Request(NO_EVENT, error=bad, client_msg_id=client_msg_id)
    return Request(kind, with_conversation(frame, conversation_id), client_msg_id=client_msg_id)


def _key_of(frame: dict[str, Any]) -> str | None:
    key = frame.get("client_msg_id")
    return key if isinstance(key, str) and _KEY.fullmatch(key) else None


def error_frame(error: dict[str, Any], client_msg_id: str | None = None) -> bytes:
    """A failure, as an error object of the contract, with the key of the send if it had one."""
    data = error if client_msg_id is None else {**error, "client_msg_id": client_msg_id}
    return text_frame(orjson.dumps({"type": "error", "data": data}))


@dataclass(frozen=True, slots=True)
class Reworded:
    """An event in the raw websocket's words; `frame` is None for a `head` and a `conversation`.

    `data` is the payload, and `conversation_id` is None where it has none.
    """

    event: str
    data: dict[str, Any]
    frame: bytes | None

    @property
    def conversation_id(self) -> str | None:
        name = "id" if self.event == _CONVERSATION else "conversation_id"
        found: str | None = self.data.get(name)
        return found


def message_frame(message: Any) -> Reworded:
    """A Message; `message` is anything that orjson encodes as one."""
    frame = text_frame(orjson.dumps({"type": "message", "data": message}))
    return Reworded("message", orjson.loads(orjson.dumps(message)), frame)


class Rewording:
    """Rewords each event once, for however many raw connections it is.

    The frame of an event is one object for all who get it, and it goes to all of them
    before the next: so the last one is all that has to be remembered, and whoever has no
    raw connection never comes here.
    """

    __slots__ = ("_last", "_reworded")

    def __init__(self) -> None:
        self._last: bytes | None = None
        self._reworded: Reworded | None = None

    def reword(self, frame: bytes) -> Reworded | None:
        """The event in a Socket.IO `frame`; None for one that is not for raw connections."""
        if frame is not self._last:
            self._last, self._reworded = frame, _reword(frame_payload(frame))
        return self._reworded


def _reword(packet: bytes) -> Reworded | None:
    if not packet.startswith(EVENT_PREFIX + b"["):  # it asks for an acknowledgement
        return None
    event, data = orjson.loads(packet.removeprefix(EVENT_PREFIX))
    if not isinstance(data, dict):
        return None
    if event in (_HEAD, _CONVERSATION):
        return Reworded(event, data, None)
    if event not in _OBJECTS and event not in _MEMBERS:
        return None
    members = data if event in _MEMBERS else {}
    return Reworded(event, data, text_frame(orjson.dumps({"type": event, **members, "data": data})))
