"""Fair starts: what one caller asks for at once begins in different turns of the event loop.

A budget says how much an address may ask for in a quarter of a minute. It could all be asked
for in one moment, over hundreds of connections; in one turn of the event loop everybody else
would then wait for all of it. So they wait for one request at a time.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Final

WHOLE: Final = 4
"""Most that the requests of one caller may weigh together that begin in a turn."""

QUANTUM: Final = 0.002
"""Seconds. After a turn that took several times as long, as many times as much may begin: on
a busy node turns are long, and nobody shall wait for hundreds of them."""

MOST: Final = 16 * WHOLE
"""Most that may begin in one turn after all."""


class FairStarts:
    """Lets requests of each key that weigh WHOLE begin in a turn, first come first served.

    What has begun is not waited for: while one waits for the database, the next begins.
    """

    def __init__(self) -> None:
        self._begun: dict[Hashable, int] = {}  # in this turn
        self._whole = WHOLE  # of this turn
        self._began_at = 0.0
        self._waiting: dict[Hashable, deque[tuple[asyncio.Future[None], int]]] = {}

    def __len__(self) -> int:
        """Number of keys that have waiting requests."""
        return len(self._waiting)

    async def wait(self, key: Hashable, weight: int = WHOLE) -> bool:
        """Return in the turn in which the request may begin; whether that is a later one."""
        loop = asyncio.get_running_loop()
        begun = self._begun.get(key, 0)
        if not self._begun and not self._waiting:
            self._whole, self._began_at = WHOLE, loop.time()
            loop.call_soon(self._begin_turn)
        if begun + weight <= self._whole and key not in self._waiting:
            self._begun[key] = begun + weight
            return False
        place = loop.create_future()
        self._waiting.setdefault(key, deque()).append((place, weight))
        await place
        return True

    def _begin_turn(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        turns = max(1, int((now - self._began_at) / QUANTUM))
        self._whole, self._began_at = min(turns * WHOLE, MOST), now
        self._begun.clear()
        for key, places in list(self._waiting.items()):
            begun = 0
            while places and begun + places[0][1] <= self._whole:
                place, weight = places.popleft()
                if not place.done():  # else whoever waited was cancelled
                    place.set_result(None)
                    begun += weight
            self._begun[key] = begun
            if not places:
                del self._waiting[key]
        if self._begun:
            loop.call_soon(self._begin_turn)
