"""Token buckets: what each caller may still spend, counted in memory, without I/O.

A bucket is kept as the time at which all that was spent is paid off: one number that
nothing has to refill. It is spent from in one step, and settled now and then with what
other nodes have spent from it (`chatserver.backplane.redis_ledger`).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from limits import parse

MAX_BUCKETS: Final = 50_000
"""So many are kept, about 15 MB; then the one that was made first goes."""

MAX_RELIEF: Final = 5.0
"""Seconds' worth that is free again, at most, when a refusal is over."""

SETTLED_FROM: Final = 0.01
"""Other nodes are told of a spending when it is this part of a whole bucket."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing may be spent for `retry_after` seconds.

    `told_for` is for how many seconds the caller has been told so: 0 at the first time.
    """

    retry_after: float
    told_for: float


class _Bucket:
    """Times are those of the clock; `unsettled` is in seconds of the bucket's refill."""

    __slots__ = ("is_changed", "is_noted", "paid_at", "refused_until", "told_at", "unsettled")

    def __init__(self, now: float) -> None:
        self.paid_at = now
        self.unsettled = 0.0
        self.refused_until = now
        self.told_at = now
        self.is_changed = False
        self.is_noted = False


class Buckets(Generic[Key]):
    """A bucket for each key, full at first, which refills evenly in the time of its limit.

    Whoever is refused is refused until some of it is free again (hysteresis): a caller
    that waits for as long as it was told has a few seconds' worth then, and one that is
    refused meanwhile did not wait.
    """

    def __init__(
        self,
        limit: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        capacity: int = MAX_BUCKETS,
    ) -> None:
        """`limit` is like "300/15 seconds": that much at once, and in each 15 seconds."""
        item = parse(limit)
        self._clock = clock
        self._capacity = capacity
        self._window = float(item.get_expiry())
        self._second = self._window / item.amount
        self._half = self._window / 2
        self._relieved = self._window - min(MAX_RELIEF, self._window / 4)
        self._settled_from = self._window * SETTLED_FROM
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()
        self._changed: dict[Key, _Bucket] = {}
        self._half_spent: list[Key] = []

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, key: Key, cost: float) -> Refusal | None:
        """Spend `cost` if there is anything left; else say for how long there is not.

        The last one may cost more than is left. What is refused costs nothing.
        """
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._add(key, now)
        paid_at = bucket.paid_at
        # Nobody is refused with less to pay off than is left of it when a refusal ends.
        if paid_at - now >= self._relieved and (refusal := self._refusal(bucket, now)):
            return refusal
        # As in _charge, in place: this is on the path of every event.
        if paid_at <= now:
            paid_at = now
            bucket.is_noted = False
        seconds = cost * self._second
        bucket.paid_at = paid_at + seconds
        bucket.unsettled = unsettled = bucket.unsettled + seconds
        if unsettled >= self._settled_from and not bucket.is_changed:
            bucket.is_changed = True
            self._changed[key] = bucket
        return None

    def charge(self, key: Key, cost: float) -> None:
        """Spend `cost` whether it is left or not: for what has been done already."""
        now = self._clock()
        bucket = self._buckets.get(key) or self._add(key, now)
        self._charge(key, bucket, now, cost * self._second)

    def refund(self, key: Key, cost: float) -> None:
        """Take back what was spent; the bucket is full at most."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._charge(key, bucket, self._clock(), -cost * self._second)

    def spent_part(self, key: Key) -> float:
        """Share of the bucket that is spent: 0 for a full one, 1 or more for one that refuses."""
        bucket = self._buckets.get(key)
        return 0.0 if bucket is None else max(0.0, bucket.paid_at - self._clock()) / self._window

    def take_half_spent(self) -> list[Key]:
        """Whose bucket is half spent, each key once until it is full again.

        Those that were noticed by `take_spent` since the last call.
        """
        half_spent, self._half_spent = self._half_spent, []
        return half_spent

    def _refusal(self, bucket: _Bucket, now: float) -> Refusal | None:
        if now >= bucket.refused_until:
            if bucket.paid_at - now < self._window:
                return None
            bucket.told_at = now
            bucket.refused_until = bucket.paid_at - self._relieved
        return Refusal(bucket.refused_until - now, now - bucket.told_at)

    def _charge(self, key: Key, bucket: _Bucket, now: float, seconds: float) -> None:
        if bucket.paid_at <= now:
            bucket.paid_at = now
            bucket.is_noted = False
        bucket.paid_at += seconds
        bucket.unsettled += seconds
        if not bucket.is_changed and abs(bucket.unsettled) >= self._settled_from:
            bucket.is_changed = True
            self._changed[key] = bucket

    def _add(self, key: Key, now: float) -> _Bucket:
        """A new bucket; for each one added up to two old ones that are full again go."""
        for _ in range(2):
            if not self._buckets:
                break
            oldest, bucket = next(iter(self._buckets.items()))
            if bucket.paid_at > now and len(self._buckets) < self._capacity:
                self._buckets.move_to_end(oldest)
                continue
            del self._buckets[oldest]
        bucket = self._buckets[key] = _Bucket(now)
        return bucket

    # Settling with other nodes

    def take_spent(self) -> dict[Key, float]:
        """Take what was spent since the last call, in seconds of refill, to tell other nodes.

        A spending of less than a hundredth of a bucket is not told yet. Followed by
        `settle`, or by `put_back` where nobody could be told.
        """
        now = self._clock()
        spent = {}
        for key, bucket in self._changed.items():
            spent[key] = bucket.unsettled
            bucket.unsettled = 0.0
            bucket.is_changed = False
            if not bucket.is_noted and bucket.paid_at - now >= self._half:
                bucket.is_noted = True
                self._half_spent.append(key)
        self._changed = {}
        return spent

    def settle(self, debts: Mapping[Key, float]) -> None:
        """Learn what all nodes together have spent: for each key the seconds until it is paid."""
        now = self._clock()
        for key, seconds in debts.items():
            bucket = self._buckets.get(key)
            if bucket is not None:
                # Never less than this node knows by itself: the ledger may have been lost.
                bucket.paid_at = max(bucket.paid_at, now + seconds + bucket.unsettled)

    def put_back(self, spent: Mapping[Key, float]) -> None:
        """Give back what could not be told, to tell it later, but for what is paid off by now."""
        now = self._clock()
        for key, seconds in spent.items():
            bucket = self._buckets.get(key)
            if bucket is not None:
                debt = max(0.0, bucket.paid_at - now)
                bucket.unsettled = min(bucket.unsettled + seconds, debt)
                if abs(bucket.unsettled) >= self._settled_from:
                    bucket.is_changed = True
                    self._changed[key] = bucket
