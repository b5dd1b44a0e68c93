"""Random bytes for the sockets' client: packets of Engine.IO and frames of websockets."""

import struct
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.chaos.fuzz.junk import Junk

EVENTS: Final[dict[str, tuple[str, ...]]] = {
    "join": ("conversation_id",),
    "leave": ("conversation_id",),
    "message": ("conversation_id", "content"),
    "edit": ("message_id", "content"),
    "delete": ("message_id",),
    "typing": ("conversation_id", "is_typing"),
    "delivered": ("conversation_id", "seq"),
    "read": ("conversation_id", "seq"),
    "sync": ("open",),
    "authenticate": ("token",),
    "connect": (),
    "_message": ("conversation_id", "content"),
}
"""What each has to have; the names that are no event do harm, or nothing."""

PACKETS = (
    "", "4", "42", "4x", "9", "45-[]", "451-", "46", "43", "431[]", "44{}", "40{", "42/other,[]",
    "40/other,", "42" + "1" * 30 + '["join"]', "4210[", "b" + "A" * 100, "5", "2probe", "2", "3",
    "42\x1e42", "0{}", "42-1[]", "4\U0001f600", '451-["message",{"_placeholder":true,"num":0}]',
    '459999999999-["message"]', '42["message",{"content":1e999}]', '42["message",{"content":NaN}]',
    '42["message",{"content":"\\ud800"}]', "6", "42[7,{}]", "42[null]", '42{"0":"join"}',
)  # fmt: skip
FINAL_PACKETS = ("1", "41")
LIMIT: Final = 131_072
"""Bytes of the largest packet (`realtime.max_packet_bytes`)."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Frames:
    """All of it follows from the seed of `random`."""

    def __init__(self, random: Random, junk: Junk) -> None:
        self.random = random
        self._junk = junk

    def packet(self) -> bytes:
        """One of Engine.IO, as text."""
        makers: list[tuple[int, Callable[[], str]]] = [
            (100, self._event),
            (5, lambda: self.random.choice(PACKETS)),
            (2, lambda: f'42["message",{self._junk.deep()}'),
            (2, lambda: self._sized(self.random.choice((LIMIT - 40, LIMIT, LIMIT + 1, 200_000)))),
            (1, lambda: self.random.choice(FINAL_PACKETS)),
            (1, lambda: "4" + self._junk.text()),
        ]
        maker = self.random.choices([each for _, each in makers], [weight for weight, _ in makers])
        return maker[0]().encode(errors="surrogatepass")

    def raw_event(self) -> bytes:
        """One for the raw websocket."""
        payload = self._junk.object({
            "type": lambda: self.random.choice(("message", "typing", "read", "delivered", "x")),
            "content": self._junk.text,
            "message_id": self._junk.id,
            "client_msg_id": self._junk.id,
            "is_typing": lambda: True,
        })  # fmt: skip
        return self._junk.written(payload).encode(errors="surrogatepass")

    def frame(self, payload: bytes) -> bytes:
        """A websocket frame of it: mostly a right one."""
        chance = self.random.random()
        if chance < 0.95:
            return wrap(payload, TEXT)
        if chance < 0.955:
            return wrap(payload, BINARY)
        if chance < 0.96:
            return self._in_fragments(payload)
        if chance < 0.97:
            return wrap(payload[:125], self.random.choice((CLOSE, PING, PONG)))
        if chance < 0.975:
            return wrap(payload, self.random.randrange(16), first=self.random.randrange(256))
        if chance < 0.98:
            return wrap(payload, TEXT, is_masked=False)
        if chance < 0.985:
            return b"\x81\xff" + struct.pack(">Q", self.random.choice((2**63, 2**40, 9_000_000)))
        frame = bytearray(wrap(payload, TEXT))
        if chance < 0.995:
            frame[self.random.randrange(len(frame))] ^= 1 << self.random.randrange(8)
            return bytes(frame)
        return self.random.randbytes(self.random.randrange(1, 300))

    def pieces(self, data: bytes) -> list[bytes]:
        """`data` as it is written: mostly at once."""
        if self.random.random() < 0.9 or len(data) < 2:
            return [data]
        cuts = sorted(
            self.random.randrange(1, len(data)) for _ in range(self.random.randrange(1, 5))
        )
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _event(self) -> str:
        ack = self.random.choice(("", "1", str(self.random.randrange(10**9))))
        event = self.random.choice([*EVENTS])
        args: list[Any] = [event, self._payload(EVENTS[event])]
        if self.random.random() < 0.03:
            args = [self._junk.value() for _ in range(self.random.randrange(4))]
        return f"42{ack}{self._junk.written(args)}"

    def _payload(self, needed: tuple[str, ...]) -> Any:
        fields: dict[str, Callable[[], Any]] = {
            "conversation_id": self._junk.id,
            "message_id": self._junk.id,
            "content": self._junk.text,
            "client_msg_id": self._junk.id,
            "seq": lambda: self.random.randrange(-1, 20),
            "is_typing": lambda: self.random.random() < 0.5,
            "open": lambda: {self._junk.id(): {"seq": 0, "rev": self.random.randrange(9)}},
            "cursor": self._junk.text,
            "token": self._junk.text,
        }
        chance = self.random.random()
        if chance < 0.1:
            return self._junk.value()
        if chance < 0.6:
            return {name: fields[name]() for name in needed}
        return self._junk.object(fields)

    def _sized(self, size: int) -> str:
        head, tail = '421["message",{"content":"', '"}]'
        return head + "x" * (size - len(head) - len(tail)) + tail

    def _in_fragments(self, payload: bytes) -> bytes:
        """Of a text, with a ping in between; the last one may be missing."""
        half = len(payload) // 2
        first, last = wrap(payload[:half], TEXT, first=0x01), wrap(payload[half:], 0, first=0x80)
        return first + wrap(b"", PING) + (last if self.random.random() < 0.8 else b"")


def wrap(payload: bytes, opcode: int, *, first: int | None = None, is_masked: bool = True) -> bytes:
    """A client's frame; `first` is its first byte, if not that of a whole message.

    The mask is 0, which leaves the payload as it is.
    """
    head = bytes([0x80 | opcode if first is None else first])
    mask, size = 0x80 if is_masked else 0, len(payload)
    if size < 126:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", size)
    return head + (b"\0\0\0\0" if is_masked else b"") + payload
