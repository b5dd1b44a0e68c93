"""Connections that say random things, by every transport of the sockets, and what they are told."""

import asyncio
import re
from collections import Counter
from contextlib import suppress

from tests.chaos.fuzz.frames import TEXT, Frames, wrap
from tests.kit.app import Person

PATIENCE = 0.02
"""Seconds for which an answer is awaited after some frames; what comes later is read, too."""

ANSWERED = 1.0
"""Seconds for which the last answer is awaited: bytes may be missing to what was asked."""

MARK = 98765432
"""What an acknowledgement that is waited for begins with."""

END = 20.0
LONGEST = 30
"""Frames of one connection."""

BAD = re.compile(rb'"(internal_error|unavailable)"|HTTP/1\.1 (5\d\d)')


class Connections:
    """`frames` is how many were sent, `told` counts answers that nobody should get."""

    def __init__(self, port: int, person: Person, conversation_id: str) -> None:
        self.frames = 0
        self.told: Counter[str] = Counter()
        self._address = ("127.0.0.1", port)
        self._person = person
        self._conversation_id = conversation_id

    async def run(self, frames: Frames) -> None:
        """One connection, to its end."""
        transport = frames.random.choices((self._socketio, self._raw, self._polling), (60, 15, 25))[
            0
        ]
        reader, writer = await asyncio.open_connection(*self._address)
        heard = bytearray()
        listening = asyncio.create_task(_listen(reader, heard, writer))
        try:
            with suppress(ConnectionError):
                await transport(frames, writer, heard)
        finally:
            if frames.random.random() < 0.3:
                writer.transport.abort()
            writer.close()
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(listening, END)
        self.told.update((word or status).decode() for word, status in BAD.findall(bytes(heard)))

    async def _socketio(
        self, frames: Frames, writer: asyncio.StreamWriter, heard: bytearray
    ) -> None:
        await self._upgrade("/socket.io/?EIO=4&transport=websocket", writer, heard)
        if frames.random.random() < 0.9:
            connect = f'40{{"token":"{self._person.token()}"}}'.encode()
            await self._write(frames, writer, wrap(connect, TEXT))
            await _until(heard, b"40{")
        for number in range(frames.random.randrange(1, LONGEST)):
            await self._write(frames, writer, frames.frame(frames.packet()))
            if frames.random.random() < 0.5:
                # What was sent so far is handled, and not dropped by the next bad packet.
                mark = f"{MARK}{number}"
                await self._write(frames, writer, wrap(f'42{mark}["settle"]'.encode(), TEXT), 0)
                await _until(heard, f"43{mark}[".encode(), ANSWERED, writer)

    async def _raw(self, frames: Frames, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        url = f"/ws/chat/{self._conversation_id}?token={self._person.token()}"
        await self._upgrade(url, writer, heard)
        for _ in range(frames.random.randrange(1, LONGEST)):
            event = frames.raw_event() if frames.random.random() < 0.8 else frames.packet()
            await self._write(frames, writer, frames.frame(event))
        await asyncio.sleep(PATIENCE)

    async def _polling(
        self, frames: Frames, writer: asyncio.StreamWriter, heard: bytearray
    ) -> None:
        url = "/socket.io/?EIO=4&transport=polling"
        writer.write(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await _until(heard, b'"sid":"')
        found = re.search(rb'"sid":"([^"]+)"', bytes(heard))
        sid = found[1].decode() if found else "none"
        bodies = [f'40{{"token":"{self._person.token()}"}}'.encode()]
        for _ in range(frames.random.randrange(1, 6)):
            packets = [frames.packet() for _ in range(frames.random.randrange(1, 6))]
            bodies.append(b"\x1e".join(packets))
        for body in bodies:
            size = len(body) + (frames.random.random() < 0.03)
            head = f"POST {url}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            await self._write(frames, writer, head.encode() + body, body.count(b"\x1e") + 1)
        writer.write(f"GET {url}&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(PATIENCE)

    async def _upgrade(self, url: str, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        writer.write(
            f"GET {url} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "\r\n".encode()
        )
        await _until(heard, b"\r\n\r\n")

    async def _write(
        self, frames: Frames, writer: asyncio.StreamWriter, data: bytes, count: int = 1
    ) -> None:
        """Raises ConnectionError when the server has ended the connection."""
        for piece in frames.pieces(data):
            writer.write(piece)
            await writer.drain()
        self.frames += count
        await asyncio.sleep(frames.random.choice((0, 0.003)))
        if writer.is_closing():
            raise ConnectionError


async def _listen(
    reader: asyncio.StreamReader, heard: bytearray, writer: asyncio.StreamWriter
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            heard += data
    writer.close()  # so that nothing more is said to nobody


async def _until(
    heard: bytearray,
    words: bytes,
    seconds: float = 10.0,
    writer: asyncio.StreamWriter | None = None,
) -> None:
    """Raises ConnectionError when they do not come, at once where `writer` is closed."""
    deadline = asyncio.get_running_loop().time() + seconds
    while words not in heard:
        is_closed = writer is not None and writer.is_closing()
        if is_closed or asyncio.get_running_loop().time() > deadline:
            raise ConnectionError(bytes(heard[-200:]))
        await asyncio.sleep(0.003)
