"""A REST client that adds little to what it measures: HTTP/1.1 on one open connection."""

import asyncio
import time
from typing import Any, Self

import orjson


class RequestError(Exception):
    """The server answered something other than 200."""


class Requests:
    """GET requests, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str, token: str) -> tuple[Any, float]:
        """Return the body, and the seconds that it took to come. Raises RequestError."""
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        began = time.perf_counter()
        self._writer.write(request.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        elapsed = time.perf_counter() - began
        if not head.startswith(b"http/1.1 200"):
            status = head.partition(b"\r\n")[0].decode()
            raise RequestError(f"{path}: {status}")
        return orjson.loads(body), elapsed

    def close(self) -> None:
        self._writer.close()
