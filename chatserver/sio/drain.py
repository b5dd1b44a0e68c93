"""Drain of a node that goes down: clients leave one after another, each served until its turn."""

import asyncio
import random
from collections.abc import Collection
from typing import Final

from chatserver.eio.clock import Clock
from chatserver.eio.protocol import SERVICE_RESTART, Reason
from chatserver.eio.session import EngineSocket

FLUSH_GRACE: Final = 1.0
"""Time that a client may take to fetch the answers to its last events, in seconds."""

_TICK: Final = 0.02


async def depart(sockets: Collection[EngineSocket], seconds: float, clock: Clock) -> None:
    """Close `sockets` in random order, evenly over `seconds`, so that clients come back by
    themselves (websockets with 1012) and not all at once.

    A socket is served until its turn. From then on nothing more that it sends is begun;
    what had arrived is acknowledged and what is queued is sent before it is closed. A
    client that does not take it within FLUSH_GRACE is closed all the same.

    Ends when all have gone, at the latest FLUSH_GRACE after `seconds`: an event that is
    still being handled then keeps its socket open. It may be cancelled at any time, and
    then the others stay. One loop for all, since a task for each would cost more than
    the closing.
    """
    waiting = random.sample(list(sockets), len(sockets))
    per_second = len(waiting) / seconds if seconds else float("inf")
    begun_at, began = clock.time(), 0
    leaving: dict[EngineSocket, float] = {}
    while (waiting or leaving) and (now := clock.time()) < begun_at + seconds + FLUSH_GRACE:
        while waiting and began <= (now + _TICK - begun_at) * per_second:  # until the next look
            socket = waiting.pop()
            socket.stop_receiving()
            leaving[socket] = now + FLUSH_GRACE
            began += 1
        leaving = {
            socket: now + FLUSH_GRACE if socket.receiver.is_busy else flush_until
            for socket, flush_until in leaving.items()
            if not _has_left(socket, is_late=now >= flush_until)
        }
        await asyncio.sleep(_TICK)


def _has_left(socket: EngineSocket, *, is_late: bool) -> bool:
    """Close a socket that is ready for it; whether nothing of it is left to be done."""
    if socket.receiver.is_busy:
        return False
    if socket.queued_bytes and not is_late:
        return False
    socket.close(Reason.SERVER_DISCONNECT, SERVICE_RESTART)
    return not socket.receiver.is_busy
