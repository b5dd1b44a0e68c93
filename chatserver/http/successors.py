"""Connections that have left HTTP for another protocol: counted, and ended with the others."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from chatserver.http.admissions import Admission


class Successor(Protocol):
    """The protocol to which a connection was handed over."""

    on_lost: Callable[[], None] | None
    """Called when the connection has ended."""


class Successors:
    """The open connections of a server that are not HTTP's any more."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Transport, Admission] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, successor: Successor, transport: asyncio.Transport, admission: Admission) -> None:
        """Take note that `successor` has the connection, which is admitted until its end."""
        self._open[transport] = admission
        successor.on_lost = lambda: self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        self._open.pop(transport).end()
        self._changed.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait until all have ended; those that have not in `seconds` are dropped."""
        try:
            async with asyncio.timeout(seconds):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for transport in self._open:
                transport.abort()
