"""One account, or one address without a token, that does to a node all that was found to hurt.

A program of its own, so that it takes nothing from those who measure:
`python -m tests.chaos.faults.abusers SPEC`, with a `Spec` as JSON, goes on for so many seconds,
whatever it is told (or until it was told and closed), and prints what came back, as JSON, too.
"""

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count, cycle
from typing import Any

HERE = "127.0.0.2"
"""Where they come from: another address than everybody else."""

WEBSOCKET = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
DOCUMENT = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
METRICS = b"GET /%6detrics HTTP/1.1\r\nHost: x\r\n\r\n"
BAD_TOKEN = b"GET /api/chat/unread-count HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n\r\n"
POLL = (
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"
    + b"Authorization: Bearer a.b.c\r\n" * 100
    + b"\r\n"
)

TOLD = re.compile(rb"rate_limited|Too many requests")
CLOSED = re.compile(rb"\x88[\x02-\x7d]\x03\xf5|[Cc]onnection: close")
"""The frame that says: try again later (1013); or the header that says that it is over."""

BREATH = 0.05
"""Seconds between two things that are done again and again, and between two attempts."""

AGAIN = 5.0
"""Seconds after which a connection that was closed, and from which nothing was read, comes back."""


@dataclass(slots=True)
class Spec:
    """What is done to whom. `conversation` and `listings` are the account's to use."""

    ports: list[int]
    lines: list[str]
    seconds: float
    connections: int
    is_patient: bool = True
    """Whether it goes on for all these seconds, or only until it was told and closed."""
    token: str = ""
    conversation: str = ""
    listings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Abuser:
    """`heard` counts for each line what was sent, and how often it was told and closed."""

    spec: Spec
    heard: Counter[str] = field(default_factory=Counter)
    _turn: Iterator[int] = field(default_factory=count)

    async def run(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.seconds) as time, asyncio.TaskGroup() as lines:
                for name in self.spec.lines:
                    lines.create_task(LINES[name](self))
                if not self.spec.is_patient:
                    lines.create_task(self._end_when_closed(time))

    async def _end_when_closed(self, time: asyncio.Timeout) -> None:
        while not (self.heard["told"] and self.heard["closed"]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        time.reschedule(asyncio.get_running_loop().time())

    # Over a socket

    async def flood(self, events: Callable[[], Sequence[bytes]], pause: float = BREATH) -> None:
        """A socket that sends these events in every `pause`; a new one when it is closed."""
        while True:
            with suppress(OSError):
                async with self._connection() as (writer, is_over):
                    writer.write(WEBSOCKET)
                    writer.write(frame(f'40{{"token": "{self.spec.token}"}}'.encode()))
                    while not is_over.is_set():
                        batch = events()
                        writer.write(b"".join(frame(event) for event in batch))
                        self.heard["sent"] += len(batch)
                        await writer.drain()
                        await asyncio.sleep(pause)
            await asyncio.sleep(BREATH)

    # Over HTTP

    async def ask(self, request: bytes, times: int, pause: float = BREATH) -> None:
        """A connection that makes so many requests in every `pause`."""
        while True:
            with suppress(OSError):
                async with self._connection() as (writer, is_over):
                    while not is_over.is_set():
                        writer.write(request * times)
                        self.heard["sent"] += times
                        await writer.drain()
                        await asyncio.sleep(pause)
            await asyncio.sleep(BREATH)

    async def read_nothing(self, request: bytes, connections: int) -> None:
        """So many connections whose answers nobody reads, opened again when they are closed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self._read_nothing(request))

    async def _read_nothing(self, request: bytes) -> None:
        while True:
            with suppress(OSError):
                _, writer = await self._open()
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                try:
                    writer.write(request)
                    self.heard["sent"] += 1
                    await writer.drain()
                    while not writer.is_closing():
                        await asyncio.sleep(1)
                        writer.write(b"\r\n")
                    self.heard["closed"] += 1
                finally:
                    writer.transport.abort()
            await asyncio.sleep(AGAIN)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.Event]]:
        reader, writer = await self._open()
        is_over = asyncio.Event()
        listening = asyncio.create_task(self._listen(reader, is_over))
        try:
            yield writer, is_over
        finally:
            listening.cancel()
            writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.spec.ports[next(self._turn) % len(self.spec.ports)]
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(HERE, 0), limit=2**20)

    async def _listen(self, reader: asyncio.StreamReader, is_over: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**18):
                self.heard["told"] += len(TOLD.findall(data))
                self.heard["closed"] += len(CLOSED.findall(data))
        is_over.set()


def frame(payload: bytes) -> bytes:
    """A text frame of any size, masked with zeros."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes([0x80 | size]) + bytes(4) + payload
    if size < 2**16:
        return b"\x81\xfe" + size.to_bytes(2, "big") + bytes(4) + payload
    return b"\x81\xff" + size.to_bytes(8, "big") + bytes(4) + payload


def event(name: str, **payload: object) -> bytes:
    return b"421" + json.dumps([name, payload]).encode()


def get(path: str, token: str) -> bytes:
    return (
        f"GET /api/chat/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


# What one account does

Line = Callable[[Abuser], Coroutine[Any, Any, None]]

LINES: dict[str, Line] = {}
ACCOUNT: list[str] = []
STRANGER: list[str] = []


def line(kind: list[str]) -> Callable[[Line], None]:
    """Name a line after its function, and say who can do it."""

    def register(do: Line) -> None:
        name = do.__name__.replace("_", " ")
        LINES[name] = do
        kind.append(name)

    return register


@line(ACCOUNT)
async def junk_under_open(abuser: Abuser) -> None:
    """0.45 MB in a second."""
    junk = event("sync", open={f"{number:08x}": 0 for number in range(7000)})
    await abuser.flood(lambda: [junk], pause=0.25)


@line(ACCOUNT)
async def unknown_fields(abuser: Abuser) -> None:
    junk = event("read", **{f"x{number}": 0 for number in range(9000)})
    await abuser.flood(lambda: [junk], pause=0.25)


@line(ACCOUNT)
async def sync_without_end(abuser: Abuser) -> None:
    """5 kB in a second."""
    await abuser.flood(lambda: [event("sync")] * 12)


@line(ACCOUNT)
async def typing_without_end(abuser: Abuser) -> None:
    """4,000 in a second."""
    chat = abuser.spec.conversation
    typing = [event("join", conversation_id=chat)]
    typing += [event("typing", conversation_id=chat, is_typing=True)] * 200
    await abuser.flood(lambda: typing)


@line(ACCOUNT)
async def read_one_by_one(abuser: Abuser) -> None:
    """400 receipts in a second."""
    numbers = count(1)

    def reads() -> list[bytes]:
        chat = abuser.spec.conversation
        return [event("read", conversation_id=chat, seq=next(numbers) % 1000) for _ in range(20)]

    await abuser.flood(reads)


@line(ACCOUNT)
async def conversations_without_a_word(abuser: Abuser) -> None:
    """40 in a second, as 400 were in 9 s."""
    listings = cycle(abuser.spec.listings)
    token = abuser.spec.token
    while True:
        with suppress(OSError):
            async with abuser._connection() as (writer, is_over):
                while not is_over.is_set():
                    for _ in range(2):
                        body = json.dumps({"listing_id": next(listings)})
                        head = (
                            "POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\n"
                            f"Authorization: Bearer {token}\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                        )
                        writer.write((head + body).encode())
                        abuser.heard["sent"] += 1
                    await writer.drain()
                    await asyncio.sleep(BREATH)
        await asyncio.sleep(BREATH)


@line(ACCOUNT)
async def history_that_nobody_reads(abuser: Abuser) -> None:
    """Four requests in each of many connections."""
    path = f"conversations/{abuser.spec.conversation}/messages?limit=100"
    request = get(path, abuser.spec.token) * 4
    await abuser.read_nothing(request, abuser.spec.connections // 3)


# What one address does without a token


@line(STRANGER)
async def documents_that_nobody_reads(abuser: Abuser) -> None:
    """60 requests in each of many connections."""
    await abuser.read_nothing(DOCUMENT * 60, abuser.spec.connections)


@line(STRANGER)
async def bad_tokens(abuser: Abuser) -> None:
    """200 in a second."""
    await abuser.ask(BAD_TOKEN, 10)


@line(STRANGER)
async def polling_handshakes(abuser: Abuser) -> None:
    """100 in a second, with 100 Authorization headers each."""
    await abuser.ask(POLL, 5)


@line(STRANGER)
async def metrics_by_another_name(abuser: Abuser) -> None:
    """100 in a second."""
    await abuser.ask(METRICS, 5)


@line(STRANGER)
async def sockets_that_prove_nothing(abuser: Abuser) -> None:
    """50 connections in a second, each kept open."""
    opened = []
    while True:
        with suppress(OSError):
            _, writer = await abuser._open()
            writer.write(WEBSOCKET)
            abuser.heard["sent"] += 1
            opened.append(writer)
        await asyncio.sleep(0.02)


async def main(spec: Spec) -> None:
    if spec.is_patient:
        os.nice(19)  # the CPUs are there for the others, who are measured
    abuser = Abuser(spec)
    await abuser.run()
    print(json.dumps(abuser.heard))


def command(spec: Spec) -> list[str]:
    """What starts the program."""
    return [sys.executable, "-m", "tests.chaos.faults.abusers", json.dumps(asdict(spec))]


if __name__ == "__main__":
    asyncio.run(main(Spec(**json.loads(sys.argv[1]))))
