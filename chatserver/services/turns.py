"""Turns: how much of what one user asks for is worked on at the same time.

A budget says how much that may be in a minute. Without turns it could be asked for in one
moment, over many sockets and connections, and would then take all connections to
PostgreSQL from everybody else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chatserver.errors import Unavailable
from chatserver.models import Principal, Role

AT_ONCE: Final = 4
"""Requests and events of one user on a node. A browser has six connections to a host."""

PATIENCE: Final = 10.0
"""Seconds that an event waits for its turn."""

RETRY_AFTER: Final = 1.0


class _Queue:
    __slots__ = ("callers", "places")

    def __init__(self, at_once: int) -> None:
        self.callers = 0  # with a place or waiting for one
        self.places = asyncio.Semaphore(at_once)


class Turns:
    """Lets `at_once` callers of each user in, and the others wait, first come first served.

    None: everybody at once. The host's own service speaks for everybody and never waits.
    """

    def __init__(self, at_once: int | None = AT_ONCE) -> None:
        self._at_once = at_once
        self._queues: dict[int, _Queue] = {}

    def __len__(self) -> int:
        """Number of users who are being served."""
        return len(self._queues)

    @asynccontextmanager
    async def take(self, principal: Principal, patience: float = PATIENCE) -> AsyncIterator[None]:
        """Raises Unavailable where it is nobody's turn for `patience` seconds."""
        if self._at_once is None or principal.role is Role.SERVICE:
            yield
            return
        key = principal.user_id.int
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(self._at_once)
        queue.callers += 1
        try:
            if queue.places.locked():
                await _wait(queue.places, patience)
            else:
                await queue.places.acquire()  # at once
            try:
                yield
            finally:
                queue.places.release()
        finally:
            queue.callers -= 1
            if not queue.callers:
                del self._queues[key]


async def _wait(places: asyncio.Semaphore, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await places.acquire()
    except TimeoutError:
        raise Unavailable(
            "Your earlier requests are not done yet.", retry_after=RETRY_AFTER
        ) from None
