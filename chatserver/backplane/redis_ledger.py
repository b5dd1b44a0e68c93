"""The ledger of all nodes on Redis: what was spent from a bucket on any of them."""

from collections.abc import Callable, Hashable, Mapping
from typing import Final, TypeVar

from chatserver.backplane.buckets import Buckets
from chatserver.backplane.redis_calls import (
    MAX_BATCH,
    TIMEOUT,
    Client,
    RedisAway,
    RedisCalls,
    Script,
)

Key = TypeVar("Key", bound=Hashable)

_SPEND: Final = Script("""
local debts = {}
for i, key in ipairs(KEYS) do
    local known = tonumber(redis.call('GET', key) or now) or now
    local paid_at = math.max(known, now) + tonumber(ARGV[i])
    local debt = math.ceil(math.max(paid_at - now, 0))
    if debt > 0 then redis.call('SET', key, string.format('%.1f', paid_at), 'PX', debt) end
    debts[i] = debt
end
return debts
""")
"""Adds spending to each key, in ms of refill. Returns ms until each is paid."""


class RedisLedger:
    """Settles the buckets of a node with those of the others.

    A key holds the time, by Redis' clock, at which all that was spent is paid off, and
    goes by itself then. While Redis is away each node counts for itself.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        is_available: Callable[[], bool] = lambda: True,
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        self._calls = RedisCalls(client, is_available, timeout=timeout)
        self._prefix = prefix

    async def settle(self, name: str, buckets: Buckets[Key]) -> bool:
        """Tell what was spent, and learn what all nodes have spent; False without Redis.

        `name` tells these buckets from others. One call for each 200 that changed.
        """
        spent = buckets.take_spent()
        for shard, batch in self._batches(spent):
            keys = [f"{self._prefix}:budget:{{{shard}}}:{name}:{key}" for key in batch]
            try:
                debts = await self._calls.run(
                    _SPEND, keys, [round(seconds * 1000, 1) for seconds in batch.values()]
                )
            except RedisAway:
                buckets.put_back(spent)
                return False
            buckets.settle({key: debt / 1000 for key, debt in zip(batch, debts, strict=True)})
            for key in batch:
                del spent[key]
        return True

    def _batches(self, spent: Mapping[Key, float]) -> list[tuple[int, dict[Key, float]]]:
        shards: dict[int, list[dict[Key, float]]] = {}
        for key, seconds in spent.items():
            batches = shards.setdefault(self._calls.shard_of(str(key)), [{}])
            if len(batches[-1]) == MAX_BATCH:
                batches.append({})
            batches[-1][key] = seconds
        return [(shard, batch) for shard, batches in shards.items() for batch in batches]
