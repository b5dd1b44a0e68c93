"""The bus: what nodes tell each other through Redis, and how they notice what is missing.

PostgreSQL is the truth and the bus a hint. What one node publishes arrives on each
other node that listens, in that order and once; or the nodes that may have missed
something are told since when. It is signed, and what is not is refused as soon as no
node is alive that cannot sign.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from uuid import uuid4

import orjson
import structlog
from redis.asyncio.connection import AbstractConnection

from chatserver.aio.tasks import end
from chatserver.backplane.redis_channels import RedisChannels
from chatserver.backplane.redis_others import Others
from chatserver.backplane.signatures import SEPARATOR, Signatures, Verdict

HEARTBEAT_INTERVAL: Final = 0.5
PARTITIONED_AFTER: Final = 2.0
"""Seconds without the own heartbeat, after which a node counts as partitioned and connects anew."""

MAX_AGE: Final = 5.0
"""Seconds that a message may wait for Redis. What is older is dropped, for it will be
found by those who missed it."""


def _ignore(*_: object) -> None:
    """Nobody listens yet."""


class RedisBus:
    """Publishes to channels and listens on those that were asked for."""

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        prefix: str,
        signatures: Signatures,
    ) -> None:
        self.node_id = uuid4()
        self.unsigned_at: float | None = None
        """Time at which another node that signs nothing was last heard (`time.monotonic`)."""
        self._signatures = signatures
        self._receive: Callable[[str, bytes], None] = _ignore
        self._on_gap: Callable[[float], None] = _ignore
        self.lost = 0
        self.published = 0
        self.received: Counter[str] = Counter()
        self._prefix = f"{prefix}:".encode()
        self._heartbeat_channel = self._prefix + b"nodes"
        self._plain: dict[bytes, Callable[[bytes], None]] = {}
        self._own = f"{self.node_id.hex}:".encode()
        self._number = 0
        self._channels = RedisChannels(
            connect,
            self._take,
            sign=signatures.sign,
            connected=self._send_heartbeat,
            disconnected=self._stop_receiving,
        )
        self._others = Others(self._report_gap)
        self._heartbeats: dict[int, float] = {}
        self._received_at = time.monotonic()
        self._is_partitioned = True
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    @property
    def is_receiving(self) -> bool:
        """True while this node receives what it publishes itself, through Redis."""
        return not self._is_partitioned

    @property
    def seconds_partitioned(self) -> float:
        """Seconds since the newest heartbeat that came back was sent."""
        return time.monotonic() - self._received_at

    @property
    def disordered(self) -> int:
        """Number of messages under another node's id whose numbers cannot be its own."""
        return self._others.disordered

    @property
    def has_others(self) -> bool:
        """True if other nodes were heard recently."""
        return bool(self._others)

    @property
    def others(self) -> int:
        """Number of other nodes heard recently."""
        return len(self._others)

    @property
    def dropped(self) -> int:
        """Number of messages dropped because Redis took too long."""
        return self._channels.dropped

    def __len__(self) -> int:
        """Number of messages that Redis has not confirmed."""
        return len(self._channels)

    def start(
        self,
        receive: Callable[[str, bytes], None],
        on_gap: Callable[[float], None],
        *,
        plain: Mapping[str, Callable[[bytes], None]] | None = None,
    ) -> None:
        """Connect, and stay connected, until `close`.

        `receive(channel, body)` is called for each message of another node, and on each
        channel of `plain` its function for what is not signed. `on_gap(since)` says that
        messages may be missing that were published after `since`, a time of
        `time.monotonic`; it is repeated for as long as that may go on.
        """
        self._receive = receive
        self._on_gap = on_gap
        self._plain = {
            self._prefix + channel.encode(): take for channel, take in (plain or {}).items()
        }
        self._channels.listen(self._heartbeat_channel)
        self._channels.start()
        self._task = asyncio.create_task(self._watch())

    async def close(self, grace: float = 1.0) -> None:
        """Send what waits, say goodbye and disconnect, in `grace` seconds."""
        if self._task is None:
            return
        self._is_closing = True
        await end(self._task)
        self._say({"bye": True})
        await self._channels.close(grace)

    def _report_gap(self, since: float) -> None:
        """`start` says to whom."""
        self._on_gap(since)

    # What nodes tell each other

    def publish(self, channels: Iterable[str], body: bytes) -> None:
        """Send `body` once to each other node that listens on any of `channels`.

        Returns at once and never raises. `body` has no empty line.
        """
        self._number += 1
        message = b"%b%d\n%b" % (self._own, self._number, body)
        for channel in channels:
            self._channels.publish(self._prefix + channel.encode(), message)
            self.published += 1

    def listen(self, channel: str) -> asyncio.Future[None]:
        """Receive from `channel` from now on; done when Redis has confirmed it."""
        return self._channels.listen(self._prefix + channel.encode())

    def leave(self, channel: str) -> None:
        self._channels.leave(self._prefix + channel.encode())

    def _take(self, channel: bytes, published: bytes) -> None:
        """Receive messages published as one: by this node, another one, or anybody else."""
        is_heartbeat = channel == self._heartbeat_channel
        if not is_heartbeat and published.startswith(self._own):
            # The signature is one more, so the separators are as many as the messages.
            self.received["own"] += max(published.count(SEPARATOR), 1)
            return
        verdict, messages = self._signatures.open(channel, published)
        is_signed = verdict is Verdict.SIGNED
        if verdict is Verdict.UNSIGNED and channel in self._plain:
            self._take_plain(channel, published)
            return
        if not is_signed and (verdict is not Verdict.UNSIGNED or self._signatures.is_required):
            self._refuse(verdict)
            return
        for message in messages.split(SEPARATOR):
            if is_heartbeat:
                self._take_heartbeat(message, is_signed=is_signed)
            else:
                self._take_other(channel, message, is_signed=is_signed)

    def _refuse(self, verdict: Verdict) -> None:
        self.received[verdict] += 1
        if verdict is Verdict.STALE:
            # It is from a node, if late: rather look than miss something.
            self._on_gap(time.monotonic() - MAX_AGE)

    def _take_other(self, channel: bytes, message: bytes, *, is_signed: bool) -> None:
        head, _, body = message.partition(b"\n")
        node_id, _, digits = head.partition(b":")
        if len(node_id) == 32 and digits.isdigit() and len(digits) <= 18:
            node, number = self._others.get(node_id), int(digits)
            if not node.takes(is_signed=is_signed):
                self.received[Verdict.FORGED] += 1
                return
            if number <= node.newest:
                # It came on another channel already, or was sent again.
                self.received["repeated"] += 1
                return
            node.newest = number
        else:
            self.received["invalid"] += 1
            return
        self.received["other"] += 1
        self._hand_over(self._receive, channel.removeprefix(self._prefix).decode(), body)

    def _take_plain(self, channel: bytes, message: bytes) -> None:
        self.received["external"] += 1
        self._hand_over(self._plain[channel], message)

    def _hand_over(self, receive: Callable[..., None], *message: object) -> None:
        try:
            receive(*message)
        except Exception:
            # One message that cannot be handled must not keep the others.
            self._log.exception("bus_message_failed")

    # Heartbeats

    def _say(self, heartbeat: dict[str, object]) -> None:
        heartbeat["node"] = self.node_id.hex
        self._channels.publish(self._heartbeat_channel, orjson.dumps(heartbeat))

    async def _watch(self) -> None:
        """Send heartbeats, and report gaps."""
        while True:
            now = time.monotonic()
            self._channels.drop_older(MAX_AGE)
            if self._channels.connected_at is not None:
                self._send_heartbeat()
            self._watch_self(now)
            self._others.watch(now)
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    def _send_heartbeat(self) -> None:
        self._number += 1
        self._heartbeats[self._number] = time.monotonic()
        while len(self._heartbeats) > 2 * PARTITIONED_AFTER / HEARTBEAT_INTERVAL:
            del self._heartbeats[next(iter(self._heartbeats))]
        # The name `given_up` is what nodes of older versions read.
        self._say({"number": self._number, "given_up": self._channels.dropped})

    def _watch_self(self, now: float) -> None:
        connected_at = self._channels.connected_at
        if (
            connected_at is not None
            and now - max(connected_at, self._received_at) > PARTITIONED_AFTER
        ):
            self._stop_receiving()
            self._channels.drop()
        if self._is_partitioned:
            self._on_gap(self._received_at)

    def _stop_receiving(self) -> None:
        """From now on messages may be missed."""
        if not self._is_partitioned:
            self._is_partitioned = True
            self.lost += 1
            if not self._is_closing:
                self._log.warning("backplane_not_receiving")

    def _take_heartbeat(self, message: bytes, *, is_signed: bool) -> None:
        try:
            heartbeat = orjson.loads(message)
            node_id: bytes = heartbeat["node"].encode()
        except (ValueError, TypeError, KeyError, AttributeError):
            self.received["invalid"] += 1
            return
        if node_id == self.node_id.hex.encode():
            self._receive_own(heartbeat.get("number"))
        else:
            self._receive_other(node_id, heartbeat, is_signed=is_signed)

    def _receive_own(self, number: object) -> None:
        sent_at = self._heartbeats.pop(number, None) if isinstance(number, int) else None
        if sent_at is None:
            return
        if self._is_partitioned:
            # Subscribed again since before this heartbeat: one last look for what was missed.
            self._is_partitioned = False
            self._on_gap(self._received_at)
            self._log.info("backplane_receiving", after=round(sent_at - self._received_at, 1))
        self._received_at = sent_at

    def _receive_other(
        self, node_id: bytes, heartbeat: dict[str, object], *, is_signed: bool
    ) -> None:
        if not self._others.get(node_id).takes(is_signed=is_signed):
            self.received[Verdict.FORGED] += 1
            return
        if not is_signed:
            self.unsigned_at = time.monotonic()
        self._others.receive(node_id, heartbeat)
