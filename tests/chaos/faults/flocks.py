"""Thousands of sockets in one process: as little of a client as comes back and into sync."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from bench.sockets import frame

RECONNECT = (0.1, 1.0)
"""Between these many seconds, at random, before each attempt."""

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Bird(asyncio.Protocol):
    """A socket that comes back, connects and asks `sync`; `synced_at` is None meanwhile.

    `seq` is the newest message that it knows of, in its one conversation.
    """

    def __init__(self, token: str, url: str) -> None:
        self.url = url
        self.synced_at: float | None = None
        self.seq = 0
        self._hello = "40" + json.dumps({"token": token})
        self._cursor: str | None = None
        self._received = b""
        self._is_open = False
        self._transport: asyncio.WriteTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def fly(self, wait: float = 0.0) -> None:
        """Connect after `wait` seconds, and again until it works."""
        self._task = asyncio.create_task(self._fly(wait))

    def leave(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _fly(self, wait: float) -> None:
        await asyncio.sleep(wait)
        place = urlsplit(self.url)
        assert place.hostname
        assert place.port
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, place.hostname, place.port)
        except OSError:
            self.fly(random.uniform(*RECONNECT))

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport, self._received, self._is_open = transport, b"", False
        transport.write(UPGRADE)

    def connection_lost(self, _: Exception | None) -> None:
        self.synced_at = self._transport = None
        if not self._is_over:
            self.fly(random.uniform(*RECONNECT))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_open:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if end and not head.startswith(b"HTTP/1.1 101 "):
                assert self._transport is not None
                self._transport.abort()  # nobody is there yet: 503
            if not end or not head.startswith(b"HTTP/1.1 101 "):
                return
            self._is_open, self._received = True, rest
        while (packet := self._take_packet()) is not None:
            self._hear(packet)

    def _take_packet(self) -> str | None:
        """The next whole frame; a close frame (its body is a code) says nothing."""
        received = self._received
        if len(received) < 2:
            return None
        size, start = received[1], 2
        if size == 126:
            start = 4
        elif size == 127:
            start = 10
        if len(received) < start:
            return None
        if start > 2:
            size = int.from_bytes(received[2:start], "big")
        if len(received) < start + size:
            return None
        body, self._received = received[start : start + size], received[start + size :]
        return body.decode() if received[0] == 0x81 else ""

    def _hear(self, packet: str) -> None:
        if packet.startswith("0{"):
            self._send(self._hello)
        elif packet.startswith("40"):
            asked = {} if self._cursor is None else {"cursor": self._cursor}
            self._send("421" + json.dumps(["sync", asked]))
        elif packet == "2":
            self._send("3")
        elif packet.startswith("431"):
            self._take(json.loads(packet[3:])[0])
        elif packet.startswith('42["message"'):
            self.seq = max(self.seq, json.loads(packet[2:])[1]["seq"])
        elif packet.startswith("44"):
            raise AssertionError(packet)

    def _take(self, answer: dict[str, Any]) -> None:
        if not answer["ok"]:
            assert answer["error"]["retryable"], answer
            assert self._transport is not None
            self._transport.abort()
            return
        self._cursor = answer["cursor"]
        self.seq = max([self.seq, *(each["last_seq"] for each in answer["conversations"])])
        self.synced_at = time.monotonic()

    def _send(self, packet: str) -> None:
        assert self._transport is not None
        self._transport.write(frame(packet.encode()))


async def until_synced(birds: Sequence[Bird], seconds: float) -> float:
    """Until all are connected and in sync: the moment at which the last one was."""
    async with asyncio.timeout(seconds):
        while any(bird.synced_at is None for bird in birds):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return max(bird.synced_at or 0.0 for bird in birds)
