"""Socket.IO packets as bytes: strict when reading, encoded once when writing.

What a client may send is checked here in full, so that nothing behind this module
meets a malformed packet. Outgoing packets are the payloads of Engine.IO message
packets: they begin with "4", then the Socket.IO type.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import orjson

from chatserver.eio.protocol import MESSAGE_TOO_BIG, PROTOCOL_ERROR, UNSUPPORTED_DATA

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

# type, namespace (with the "," that ends it), id. A JSON payload follows.
_HEADER = re.compile(rb"([0-6])(?:(/[^,]{0,255})(?:,|\Z))?([0-9]{0,17})")
# The type of a packet with attachments, and how many follow it.
_ATTACHMENTS = re.compile(rb"([56])([0-9]{1,3})-")
MAX_ATTACHMENTS = 100
"""More for one packet is no honest client."""
# The largest integer of JavaScript has 16 digits.
_MAX_ID_DIGITS = 16
_CLOSE_CODES = {"binary": UNSUPPORTED_DATA, "payload_too_large": MESSAGE_TOO_BIG}
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
        self.close_code = _CLOSE_CODES.get(kind, PROTOCOL_ERROR)
        self.ack_id = ack_id
        super().__init__(kind)


class EventRefused(Exception):
    """An event that reaches no handler; its text says why in a sentence.

    `kind` is "invalid_payload", or "payload_too_large" for one over the limit.
    """

    def __init__(self, kind: str, why: str = "The packet is too large.") -> None:
        self.kind = kind
        super().__init__(why)


def loads(data: bytes) -> Any:
    """Parse JSON. Raises ValueError, also for input nested too deep and for numbers that
    no float can hold."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if _SURROGATE_ESCAPE.search(data) is None:
            raise
    return _loads_with_surrogates(data)


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


class Packet:
    """A Socket.IO packet of a client, without binary attachments.

    `namespace` is a string, an EVENT's `data` a list that begins with a string, a
    CONNECT's a dict or None, an ACK's a list with the `id` that it answers. An event
    that cannot be handled has a `refusal` and no data; `attachments_due` tells how many
    binary messages follow the packet that have to be dropped.
    """

    __slots__ = ("attachments_due", "data", "id", "kind", "namespace", "refusal")

    def __init__(self, kind: int = EVENT, data: Any = None) -> None:
        self.kind = kind
        self.data = data
        self.namespace = "/"
        self.id: int | None = None
        self.refusal: EventRefused | None = None
        self.attachments_due = 0

    @classmethod
    def decode(cls, raw: bytes) -> "Packet":
        """Raises InvalidPacket for all that the protocol does not allow a client to send."""
        packet = cls()
        payload = packet._decode_header(raw)
        if packet.kind in (BINARY_EVENT, BINARY_ACK):
            packet.refusal = EventRefused("invalid_payload", "Binary attachments are not taken.")
            return packet
        try:
            packet.data = loads(payload) if payload else None
        except ValueError:
            raise packet._invalid() from None
        if not packet._is_allowed():
            raise packet._invalid()
        return packet

    @classmethod
    def decode_head(cls, head: bytes) -> "Packet":
        """An event that was too large, of its first bytes; its `refusal` says so.

        Raises InvalidPacket for any other packet: only events can be answered.
        """
        packet = cls()
        packet._decode_header(head)
        if packet.kind not in (EVENT, BINARY_EVENT):
            raise InvalidPacket("payload_too_large")
        packet.refusal = EventRefused("payload_too_large")
        return packet

    def _decode_header(self, raw: bytes) -> bytes:
        """Take type, namespace and id from a packet; what follows them."""
        if raw[:1] in (b"5", b"6"):
            raw = self._decode_attachments(raw)
        header = _HEADER.match(raw)
        if header is None:
            raise InvalidPacket
        kind, namespace, digits = header.groups()
        self.kind = kind[0] - 48
        if namespace:
            self.namespace = _decode_namespace(namespace)
        if digits:
            self.id = _decode_id(digits)
        return raw[header.end() :]

    def _decode_attachments(self, raw: bytes) -> bytes:
        """The packet without the number of its attachments."""
        found = _ATTACHMENTS.match(raw)
        if found is None or int(found[2]) > MAX_ATTACHMENTS:
            raise InvalidPacket("binary")
        self.attachments_due = int(found[2])
        return found[1] + raw[found.end() :]

    def _invalid(self) -> InvalidPacket:
        return InvalidPacket(ack_id=self.id if self.kind == EVENT else None)

    def _is_allowed(self) -> bool:
        data = self.data
        if self.kind == EVENT:
            return isinstance(data, list) and bool(data) and isinstance(data[0], str)
        if self.kind == ACK:
            return isinstance(data, list) and self.id is not None
        if self.kind == CONNECT:
            return data is None or isinstance(data, dict)
        return self.kind == DISCONNECT and data is None


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
"""Prefix of an encoded event that asks for no acknowledgement; a JSON array follows."""


def encode_event(event: str, payload: Any, ack_id: int | None = None) -> bytes:
    """An event with one argument, or those of a tuple, as in python-socketio.

    With `ack_id` the client is asked to acknowledge it. Raises TypeError for what JSON
    cannot hold.
    """
    arguments = payload if isinstance(payload, tuple) else (payload,)
    prefix = EVENT_PREFIX if ack_id is None else b"42%d" % ack_id
    return prefix + orjson.dumps((event, *arguments))


def encode_ack(ack_id: int, values: Sequence[Any]) -> bytes:
    """The answer to an event. Raises TypeError for what JSON cannot hold."""
    return b"43%d%b" % (ack_id, orjson.dumps(values))


def encode_connect(sid: str) -> bytes:
    return b"40" + orjson.dumps({"sid": sid})


def encode_connect_error(reason: Mapping[str, Any], namespace: str = "/") -> bytes:
    """A refused CONNECT; `reason` is `{message, data?}`, as JS clients expect it."""
    prefix = "" if namespace == "/" else f"{namespace},"
    return b"44" + prefix.encode() + orjson.dumps(reason)


def encode_disconnect() -> bytes:
    return b"41"
