"""Socket.IO packets as bytes: strict when reading, encoded once when writing.

What a client may send is checked here in full, so that nothing behind this module
meets a malformed packet. Outgoing packets are the payloads of Engine.IO message
packets: they begin with "4", then the Socket.IO type.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson
import socketio.packet  # type: ignore[import-untyped]
from socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
)

from chatserver.errors import ChatError, InvalidPayload, PayloadTooLarge

__all__ = [
    "ACK",
    "BINARY_ACK",
    "BINARY_EVENT",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "EVENT_PREFIX",
    "InvalidPacket",
    "OrjsonCodec",
    "Packet",
    "encode_ack",
    "encode_answer",
    "encode_connect",
    "encode_connect_error",
    "encode_disconnect",
    "encode_event",
]

# type, namespace (with the "," that ends it), id. A JSON payload follows.
_HEADER = re.compile(rb"([0-6])(?:(/[^,]{0,255})(?:,|\Z))?([0-9]{0,17})")
# The type of a packet with attachments, and how many follow it.
_ATTACHMENTS = re.compile(rb"([56])([0-9]{1,3})-")
MAX_ATTACHMENTS = 100
"""More for one packet is no honest client."""
# The largest integer of JavaScript has 16 digits.
_MAX_ID_DIGITS = 16
# A surrogate that is written as an escape: the one thing that strict UTF-8 decoders
# refuse and JavaScript's JSON.stringify can produce (half of a cut emoji).
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidPacket(ValueError):
    """The bytes are no packet that a client may send: the connection must be closed.

    `kind` is a short name for metrics. `ack_id` is the id of an event whose header
    could be read, so that its sender can still be answered; None otherwise.
    """

    def __init__(self, kind: str = "invalid_packet", ack_id: int | None = None) -> None:
        self.kind = kind
        self.ack_id = ack_id
        super().__init__(kind)


class OrjsonCodec:
    """What python-socketio expects of a JSON module, on orjson.

    Raises ValueError for bad input, also for input nested too deep and for numbers
    that no float can hold.
    """

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(data: Any, **_: Any) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raw = data.encode() if isinstance(data, str) else bytes(data)
            if _SURROGATE_ESCAPE.search(raw) is None:
                raise
        return _loads_with_surrogates(raw)


def _loads_with_surrogates(raw: bytes) -> Any:
    """Parse JSON that holds lone surrogates, so that an event with one can be answered."""
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant, parse_float=_parse_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


class Packet(socketio.packet.Packet):  # type: ignore[misc]
    """A Socket.IO packet without binary attachments.

    Decoding raises InvalidPacket for all that the protocol does not allow a client
    to send; afterwards `namespace` is a string, an EVENT's `data` a list that begins
    with a string, a CONNECT's a dict or None, an ACK's a list. A BINARY_EVENT has a
    `refusal` and no data, and `attachments_due` tells how many messages follow it that
    have to be dropped; so has a BINARY_ACK.
    """

    refusal: ChatError | None = None
    """What the event is answered with; None for one that may be handled."""
    attachments_due = 0

    uses_binary_events = False
    json = OrjsonCodec
    attachment_count = 0
    attachments = ()

    def __init__(
        self,
        packet_type: int = EVENT,
        data: Any = None,
        *,
        namespace: str | None = None,
        id: int | None = None,  # the name is python-socketio's
        binary: bool | None = None,
        encoded_packet: bytes | str | None = None,
    ) -> None:
        self.packet_type = packet_type
        self.data = data
        self.namespace = namespace
        self.id = id
        if encoded_packet is not None:
            self.decode(encoded_packet)

    def decode(self, encoded_packet: bytes | str) -> int:
        raw = encoded_packet.encode() if isinstance(encoded_packet, str) else encoded_packet
        payload = self._decode_header(raw)
        if self.packet_type in (BINARY_EVENT, BINARY_ACK):
            self.refusal = InvalidPayload("Binary attachments are not taken.")
            return self.attachments_due
        try:
            self.data = self.json.loads(payload) if payload else None
        except ValueError:
            raise self._invalid() from None
        if not self._is_allowed():
            raise self._invalid()
        return 0

    @classmethod
    def of_head(cls, head: bytes) -> "Packet":
        """An event that was too large, of its first bytes; its `refusal` says so.

        Raises InvalidPacket for any other packet: only events can be answered.
        """
        packet = cls()
        packet._decode_header(head)
        if packet.packet_type not in (EVENT, BINARY_EVENT):
            raise InvalidPacket("payload_too_large")
        packet.refusal = PayloadTooLarge()
        return packet

    def _decode_header(self, raw: bytes) -> bytes:
        """Take type, namespace and id from a packet; what follows them."""
        if raw[:1] in (b"5", b"6"):
            raw = self._decode_attachments(raw)
        header = _HEADER.match(raw)
        if header is None:
            raise InvalidPacket
        kind, namespace, digits = header.groups()
        self.packet_type = kind[0] - 48
        self.namespace = _decode_namespace(namespace) if namespace else "/"
        self.id = _decode_id(digits) if digits else None
        return raw[header.end() :]

    def _decode_attachments(self, raw: bytes) -> bytes:
        """The packet without the number of its attachments."""
        found = _ATTACHMENTS.match(raw)
        if found is None or int(found[2]) > MAX_ATTACHMENTS:
            raise InvalidPacket("binary")
        self.attachments_due = int(found[2])
        return found[1] + raw[found.end() :]

    def _invalid(self) -> InvalidPacket:
        return InvalidPacket(ack_id=self.id if self.packet_type == EVENT else None)

    def _is_allowed(self) -> bool:
        data = self.data
        if self.packet_type == EVENT:
            return isinstance(data, list) and bool(data) and isinstance(data[0], str)
        if self.packet_type == ACK:
            return isinstance(data, list) and self.id is not None
        if self.packet_type == CONNECT:
            return data is None or isinstance(data, dict)
        return self.packet_type == DISCONNECT and data is None

    def encode(self) -> str:
        namespace = f"{self.namespace}," if self.namespace not in (None, "/") else ""
        packet_id = "" if self.id is None else str(self.id)
        data = "" if self.data is None else self.json.dumps(self.data)
        return f"{self.packet_type}{namespace}{packet_id}{data}"


def _decode_namespace(raw: bytes) -> str:
    try:
        return raw.partition(b"?")[0].decode()
    except UnicodeDecodeError:
        raise InvalidPacket from None


def _decode_id(digits: bytes) -> int:
    if len(digits) > _MAX_ID_DIGITS:
        raise InvalidPacket
    return int(digits)


EVENT_PREFIX = b"42"
"""What an encoded event begins with; a JSON array follows."""


def encode_event(event: str, payload: Any) -> bytes:
    """An event with one argument, or those of a tuple, as in python-socketio.

    Raises TypeError for what JSON cannot hold.
    """
    arguments = payload if isinstance(payload, tuple) else (payload,)
    return EVENT_PREFIX + orjson.dumps((event, *arguments))


def encode_ack(ack_id: int, *payload: Any) -> bytes:
    """The answer to an event. Raises TypeError for what JSON cannot hold."""
    return b"43%d%b" % (ack_id, orjson.dumps(payload))


def encode_answer(ack_id: int | None, answer: Any) -> bytes | None:
    """What a client hears about its event: the acknowledgement if it asked for one.

    Of a failure it hears in any case, then by the event `error`. Raises TypeError for
    what JSON cannot hold. A tuple is several values, as in python-socketio.
    """
    if ack_id is not None:
        return encode_ack(ack_id, *(answer if isinstance(answer, tuple) else (answer,)))
    if isinstance(answer, dict) and answer.get("ok") is False:
        return encode_event("error", answer["error"])
    return None


def encode_connect(sid: str) -> bytes:
    return b"40" + orjson.dumps({"sid": sid})


def encode_connect_error(reason: Mapping[str, Any], namespace: str = "/") -> bytes:
    """A refused CONNECT; `reason` is `{message, data?}`, as JS clients expect it."""
    prefix = "" if namespace == "/" else f"{namespace},"
    return b"44" + prefix.encode() + orjson.dumps(reason)


def encode_disconnect() -> bytes:
    return b"41"
