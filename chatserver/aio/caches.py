"""A cache of what was looked up: of a bounded size, and believed for a while."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Holds `capacity` entries; one more drops the one that was put longest ago.

    An entry is in it for `ttl` seconds, and is kept as a stale one until it is dropped.
    """

    def __init__(
        self,
        capacity: int,
        ttl: float = math.inf,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        """Number of entries, stale ones included."""
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        entry = self._entries.get(key)
        return entry is not None and self._clock() < entry[0]

    def get(self, key: Key) -> Value | None:
        """None where it is not in the cache, or stale."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._clock() < entry[0] else None

    def get_stale(self, key: Key) -> Value | None:
        """However old; None where it was never put, or is dropped."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = self._clock() + self._ttl, value
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)
