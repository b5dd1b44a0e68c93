"""Signatures of what nodes publish: nobody else who can write to Redis can speak for them.

A signature is the last of the messages that go as one `PUBLISH`, and covers the channel,
the time and all the others. A node that knows no signatures takes it for a message of
no form and ignores it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

SEPARATOR: Final = b"\n\n"
"""Between messages that go as one."""

MAX_AGE: Final = 30.0
"""Seconds by which a signature may differ from this node's time: far more than a message
may wait for Redis. What was recorded cannot be played back after that."""

_MARK: Final = b"signed"
_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that the nodes share."""

    id: int
    secret: bytes


class Verdict(StrEnum):
    """Result of verifying what was received."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    STALE = "stale"
    UNKNOWN_KEY = "unknown_key"


class Signatures:
    """The keys of a node. Until it has one it signs nothing and trusts no signature.

    Times are the database's, so that the clocks of nodes may differ.
    """

    def __init__(self) -> None:
        self.is_required = False
        """True if unsigned messages are refused; set when no older node is alive."""
        self._keys: dict[bytes, bytes] = {}
        self._own: tuple[bytes, bytes] | None = None
        self._offset = 0.0
        self._missing: bytes | None = None

    @property
    def misses_key(self) -> bool:
        """True if something was signed with a key that is not known here."""
        return self._missing is not None

    def learn(self, keys: Sequence[Key], own: int, now: float) -> bool:
        """From now on verify with `keys` and sign with the one whose id is `own`.

        `now` is the database's time, in seconds. Whether the key that was missed is
        among them: what was signed with it before is lost.
        """
        self._keys = {b"%d" % key.id: key.secret for key in keys}
        self._own = (b"%d" % own, self._keys[b"%d" % own])
        self._offset = now - time.monotonic()
        missing, self._missing = self._missing, None
        return missing in self._keys

    def sign(self, channel: bytes, messages: bytes) -> bytes:
        """`messages`, and with them their signature once there is a key."""
        if self._own is None:
            return messages
        key_id, secret = self._own
        head = b"%b:%b:%d" % (_MARK, key_id, (time.monotonic() + self._offset) * 1000)
        return b"%b%b%b:%b" % (messages, SEPARATOR, head, _mac(secret, channel, head, messages))

    def open(self, channel: bytes, published: bytes) -> tuple[Verdict, bytes]:
        """Verify a signature; return the verdict, and the messages without it if they are valid."""
        messages, _, record = published.rpartition(SEPARATOR)
        if not record.startswith(_MARK + b":"):
            return Verdict.UNSIGNED, published
        head, _, mac = record.rpartition(b":")
        parts = head.split(b":")
        if len(parts) != 3 or not parts[2].isdigit() or len(parts[2]) > 15:
            return Verdict.FORGED, b""
        secret = self._keys.get(parts[1])
        if secret is None:
            self._missing = parts[1]
            return Verdict.UNKNOWN_KEY, b""
        if not compare_digest(mac, _mac(secret, channel, head, messages)):
            return Verdict.FORGED, b""
        if abs(int(parts[2]) / 1000 - self._offset - time.monotonic()) > MAX_AGE:
            return Verdict.STALE, b""
        return Verdict.SIGNED, messages


def _mac(secret: bytes, channel: bytes, head: bytes, messages: bytes) -> bytes:
    """Neither the channel nor the head has a line break, so no two inputs are the same bytes."""
    data = b"%b\n%b\n%b" % (channel, head, messages)
    return blake2b(data, digest_size=_SIZE, key=secret).hexdigest().encode()
