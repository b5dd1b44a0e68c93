"""The backplane of a single node: everything in its memory."""

import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from limits import RateLimitItem, parse

from chatserver.backplane.leases import TooManyLeases

GRACE: Final = "-"
"""Stands for all sockets of a user that have closed; no socket has this id."""


class PresenceLeases:
    """The `Leases` of one node. An event is told in the turn that it is handed out in."""

    def __init__(self) -> None:
        self._leases: dict[UUID, dict[str, float]] = {}
        self._ends: list[tuple[float, UUID, str]] = []
        self._revived: set[UUID] = set()

    async def acquire(self, user_id: UUID, socket_id: str, ttl: float, cap: int = 0) -> bool:
        self.check_cap(user_id, socket_id, cap)
        is_first = user_id not in self._leases
        self._set(user_id, socket_id, time.monotonic() + ttl)
        return is_first

    async def renew(self, sockets: Iterable[tuple[UUID, str]], ttl: float) -> None:
        end = time.monotonic() + ttl
        for user_id, socket_id in sockets:
            if user_id not in self._leases:
                self._revived.add(user_id)
            self._set(user_id, socket_id, end)

    async def shorten(self, user_id: UUID, socket_id: str, grace: float) -> None:
        sockets = self._leases.get(user_id, {})
        if sockets.pop(socket_id, None) is not None:
            end = time.monotonic() + grace
            self._set(user_id, GRACE, max(end, sockets.get(GRACE, end)))

    async def online(self, user_ids: Collection[UUID]) -> set[UUID]:
        return {user_id for user_id in user_ids if user_id in self._leases}

    async def expire(self) -> Sequence[UUID]:
        """Like `Leases.expire`; each change is handed out once."""
        now = time.monotonic()
        changed, self._revived = self._revived, set()
        while self._ends and self._ends[0][0] <= now:
            end, user_id, socket_id = heapq.heappop(self._ends)
            sockets = self._leases.get(user_id, {})
            if sockets.get(socket_id) != end:
                continue
            del sockets[socket_id]
            if not sockets:
                del self._leases[user_id]
                changed.add(user_id)
        return list(changed)

    async def settle(self, user_ids: Collection[UUID]) -> None:
        """Nothing to do: whoever was told has been told by this node."""

    def check_cap(self, user_id: UUID, socket_id: str, cap: int) -> None:
        """Raise TooManyLeases if the socket would be one too many."""
        if cap and not self.is_open(user_id, socket_id) and self.count_open(user_id) >= cap:
            raise TooManyLeases

    def count_open(self, user_id: UUID) -> int:
        """Return how many open sockets of the user hold a lease."""
        sockets = self._leases.get(user_id, ())
        return len(sockets) - (GRACE in sockets)

    def list_open(self) -> list[tuple[UUID, str]]:
        """Every open socket with its user."""
        return [
            (user_id, socket_id)
            for user_id, sockets in self._leases.items()
            for socket_id in sockets
            if socket_id != GRACE
        ]

    def is_open(self, user_id: UUID, socket_id: str) -> bool:
        return socket_id in self._leases.get(user_id, ())

    def _set(self, user_id: UUID, socket_id: str, end: float) -> None:
        self._leases.setdefault(user_id, {})[socket_id] = end
        heapq.heappush(self._ends, (end, user_id, socket_id))


class RateLimits:
    """A limit for each user, in a window that slides.

    The memory storage of `limits` walks over every user for each hit, so only its
    notation is used here: a message costs one look at its sender's own times.
    """

    def __init__(self, limit: str) -> None:
        """`limit` is like "60/minute"; an empty one limits nothing."""
        self._limit: RateLimitItem | None = parse(limit) if limit else None
        self._hits: OrderedDict[UUID, deque[float]] = OrderedDict()

    async def hit(self, user_id: UUID) -> float | None:
        """Count one: None if that is within the limit, else after how many seconds it may be."""
        if self._limit is None:
            return None
        now = time.monotonic()
        window = self._limit.get_expiry()
        self._forget_idle(now - window)
        hits = self._hits.setdefault(user_id, deque())
        while hits and hits[0] <= now - window:
            hits.popleft()
        if len(hits) >= self._limit.amount:
            return hits[0] + window - now
        hits.append(now)
        self._hits.move_to_end(user_id)
        return None

    def _forget_idle(self, cutoff: float) -> None:
        """Drop the users whose last hit is out of the window; they come first."""
        while self._hits:
            user_id, hits = next(iter(self._hits.items()))
            if hits and hits[-1] > cutoff:
                return
            del self._hits[user_id]
