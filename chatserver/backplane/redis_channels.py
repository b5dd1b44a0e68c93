"""Channels in Redis over one connection that heals itself."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from chatserver.aio.tasks import end
from chatserver.backplane.signatures import SEPARATOR

CONNECT_TIMEOUT: Final = 1.0
RETRY_INTERVAL: Final = 0.25
"""Seconds between two attempts to connect: subscribed again well within 2 s."""

MAX_WAITING_BYTES: Final = 32 * 2**20
"""Most bytes that may wait for Redis; beyond that all that wait are dropped."""

_MESSAGES: Final = 500
_CHANNELS: Final = 500
# Written at once, so that one batch stays small.

_JOINED_BYTES: Final = 2**16
# From this size on messages take no more along.

Sign = Callable[[bytes, bytes], bytes]
"""Takes the channel and the messages that go to it as one; returns what to publish."""


class _Waiting:
    """Messages for one channel that go to Redis as one, and when the first was published."""

    __slots__ = ("channel", "messages", "since", "size")

    def __init__(self, channel: bytes, message: bytes) -> None:
        self.channel = channel
        self.messages = [message]
        self.since = time.monotonic()
        self.size = len(message)

    def join(self, channel: bytes, message: bytes) -> bool:
        """Take another message along, if it is for the same channel."""
        if channel != self.channel or self.size > _JOINED_BYTES:
            return False
        self.messages.append(message)
        self.size += len(message)
        return True

    def command(self, sign: Sign) -> bytes:
        return _pack(b"PUBLISH", self.channel, sign(self.channel, SEPARATOR.join(self.messages)))


class RedisChannels:
    """Publishes in order, and receives from the channels that are listened on.

    What was published is kept until Redis has confirmed it, and sent again over the
    next connection: it may arrive twice, and is lost only when it is dropped. What is
    published to a channel right after something else for it goes with that, as one:
    most of what Redis and its readers have to do is for each, whatever its size.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        receive: Callable[[bytes, bytes], None],
        *,
        sign: Sign,
        connected: Callable[[], None],
        disconnected: Callable[[], None],
    ) -> None:
        """`receive(channel, published)` is called for whatever was published as one, in
        order, and `disconnected` whenever messages may be missed from then on."""
        self.connected_at: float | None = None
        self.dropped = 0
        self._connect = connect
        self._receive = receive
        self._sign = sign
        self._connected = connected
        self._disconnected = disconnected
        self._waiting: deque[_Waiting] = deque()
        self._unconfirmed: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._channels: dict[bytes, asyncio.Future[None]] = {}
        self._changes: dict[bytes, bool] = {}
        self._unconfirmed_channels: Counter[bytes] = Counter()
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    def __len__(self) -> int:
        """Number of messages that Redis has not confirmed."""
        return len(self._waiting) + len(self._unconfirmed)

    def start(self) -> None:
        """Connect, and stay connected, until `close`."""
        self._task = asyncio.create_task(self._run())

    async def close(self, grace: float) -> None:
        """Send what waits and disconnect; what has not gone after `grace` seconds is lost."""
        deadline = time.monotonic() + grace
        while self.connected_at is not None and len(self) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        if self._task is not None:
            await end(self._task)

    def drop(self) -> None:
        """Give the connection up and make another."""
        if self._reader is not None:
            self._reader.cancel()

    # Publishing

    def publish(self, channel: bytes, message: bytes) -> None:
        """Returns at once and never raises. `message` has no empty line."""
        if not (self._waiting and self._waiting[-1].join(channel, message)):
            self._waiting.append(_Waiting(channel, message))
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._drop_waiting(len(self))
        self._wake.set()

    def drop_older(self, age: float) -> None:
        """Drop what has waited for more than `age` seconds; counted in `dropped`."""
        before = time.monotonic() - age
        old = 0
        for waiting in (*self._unconfirmed, *self._waiting):
            if waiting.since > before:
                break
            old += 1
        if old:
            self._drop_waiting(old)

    def _drop_waiting(self, count: int) -> None:
        self._log.warning("bus_messages_dropped", count=count)
        if self._unconfirmed:
            # Replies to them may still come and would be taken for those of others.
            self._send_again()
            self.drop()
        for _ in range(count):
            self._waiting_bytes -= self._waiting.popleft().size
        self.dropped += count

    def _send_again(self) -> None:
        self._waiting.extendleft(reversed(self._unconfirmed))
        self._unconfirmed.clear()

    # Listening

    def listen(self, channel: bytes) -> asyncio.Future[None]:
        """Receive from `channel` from now on; done when Redis has confirmed that once."""
        confirmed = self._channels.get(channel)
        if confirmed is None:
            confirmed = asyncio.get_running_loop().create_future()
            self._channels[channel] = confirmed
            self._change(channel, is_wanted=True)
        return confirmed

    def leave(self, channel: bytes) -> None:
        confirmed = self._channels.pop(channel, None)
        if confirmed is not None:
            confirmed.cancel()
            self._change(channel, is_wanted=False)

    def _change(self, channel: bytes, *, is_wanted: bool) -> None:
        self._changes[channel] = is_wanted
        self._wake.set()

    # The connection

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except (RedisError, OSError, TimeoutError) as error:
                self._log.warning("redis_disconnected", error=type(error).__name__)
            except Exception:
                self._log.exception("redis_connection_failed")
            await asyncio.sleep(RETRY_INTERVAL)

    async def _serve(self) -> None:
        """One connection, from its beginning to its end."""
        connection = self._connect()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._begin()
            await self._work(connection)
        finally:
            if self.connected_at is not None:
                self.connected_at = None
                self._disconnected()
            with suppress(RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)

    def _begin(self) -> None:
        self._send_again()
        self._changes = dict.fromkeys(self._channels, True)
        self._unconfirmed_channels.clear()
        self._wake.set()
        self.connected_at = time.monotonic()
        self._connected()
        self._log.info("redis_connected", channels=len(self._channels))

    async def _work(self, connection: AbstractConnection) -> None:
        """Read and write until either fails or `drop` ends it."""
        reader = self._reader = asyncio.create_task(self._read(connection))
        writer = asyncio.create_task(self._write(connection))
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._reader = None
            failed = [task for task in (reader, writer) if task.done() and not task.cancelled()]
            await end(reader, writer)
        for task in failed:
            task.result()

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            commands = self._take_changes() or self._take_messages()
            if not commands:
                self._wake.clear()
            elif not connection.is_connected:
                return  # it would connect again by itself, subscribed to nothing
            else:
                await connection.send_packed_command(commands, check_health=False)

    def _take_changes(self) -> list[bytes]:
        """Commands for some of the changed channels, in the order of the changes."""
        commands: list[bytes] = []
        while self._changes and len(commands) < 2:
            is_wanted = next(iter(self._changes.values()))
            names: list[bytes] = []
            for name, wanted in self._changes.items():
                if wanted is not is_wanted or len(names) == _CHANNELS:
                    break
                names.append(name)
            for name in names:
                del self._changes[name]
            if is_wanted:
                self._unconfirmed_channels.update(names)
            verb = b"SUBSCRIBE" if is_wanted else b"UNSUBSCRIBE"
            commands.append(_pack(verb, *names))
        return commands

    def _take_messages(self) -> list[bytes]:
        taken = [self._waiting.popleft() for _ in range(min(_MESSAGES, len(self._waiting)))]
        self._unconfirmed.extend(taken)
        return [waiting.command(self._sign) for waiting in taken]

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                reply = await connection.read_response(disable_decoding=True, push_request=True)
            except ResponseError as error:
                self._log.error("redis_refused", error=str(error)[:200])
                self._confirm()
                continue
            if isinstance(reply, int):
                self._confirm()
            else:
                self._take_push(reply)

    def _take_push(self, reply: Any) -> None:
        kind, channel, value = reply
        if kind == b"message":
            self._receive(channel, value)
        elif kind == b"subscribe":
            self._confirm_channel(channel)

    def _confirm_channel(self, channel: bytes) -> None:
        """The last of several answers counts: before it there may have been a leave."""
        self._unconfirmed_channels[channel] -= 1
        if self._unconfirmed_channels[channel] <= 0:
            del self._unconfirmed_channels[channel]
            confirmed = self._channels.get(channel)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)

    def _confirm(self) -> None:
        """Redis has answered the oldest command that has an answer of its own."""
        if self._unconfirmed:
            self._waiting_bytes -= self._unconfirmed.popleft().size


def _pack(*parts: bytes) -> bytes:
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
    return packed
