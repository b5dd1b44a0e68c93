"""The rate limit over all nodes: windows of `limits` on Redis, and a local one beside them."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from chatserver.backplane import memory
from chatserver.backplane.redis_calls import TIMEOUT, Client, RedisAway, RedisCalls, Script
from chatserver.telemetry.metrics import Metrics

RETRY_AFTER: Final = 1.0
"""Seconds until a retry, told to a refused user when Redis did not say for how long."""

_HIT: Final = Script("""
local answers = {}
for i, key in ipairs(KEYS) do
    local limit, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local oldest = redis.call('LINDEX', key, limit - 1)
    if oldest and tonumber(oldest) > now - window then
        answers[i] = 0
    else
        redis.call('LPUSH', key, now)
        redis.call('LTRIM', key, 0, limit - 1)
        redis.call('PEXPIRE', key, window)
        answers[i] = 1
    end
end
return answers
""")
"""Limit and window of each key. For each whether one more is within the limit: 1 or 0."""

_LOOK: Final = Script("""
local count, oldest = redis.call('LLEN', KEYS[1]), now
while count > 0 do
    oldest = tonumber(redis.call('LINDEX', KEYS[1], count - 1))
    if oldest > now - ARGV[1] then break end
    count, oldest = count - 1, now
end
return {now, count, oldest}
""")
"""The window. Redis' time, how many are in the window, and when the oldest was."""


class SharedWindows(RedisStorage):
    """The moving windows of `limits` on a Redis client that is there already.

    Unlike those of the library they go by Redis' clock: a node whose clock is an hour
    ahead would have the others refuse for an hour. And the hits of many users are one
    command. Raises RedisAway in place of waiting. One hit costs one at a time: `amount`
    is always 1.
    """

    def __init__(self, client: Client, prefix: str, calls: RedisCalls) -> None:
        self._client = client
        self._calls = calls
        self._hits = self._calls.batchers(self._send_hits)
        super().__init__("redis://", implementation="redispy", key_prefix=f"{prefix}:limits")

    def configure_bridge(self) -> None:
        """Have the library use the client, whatever it is connected to."""
        bridge: Any = self.bridge
        bridge.storage = self._client
        bridge.connection_getter = lambda _: self._client

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        shard = self._calls.shard_of(key)
        return bool(await self._hits[shard].submit((key, limit, expiry * 1000)))

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window begins, by this node's clock, and the number of hits in it."""
        key = self._key(self._calls.shard_of(key), key)
        now, count, oldest = await self._calls.run(_LOOK, [key], [expiry * 1000])
        return time.time() - (now - oldest) / 1000, count

    async def _send_hits(self, shard: int, items: Sequence[tuple[str, int, int]]) -> Sequence[int]:
        keys = [self._key(shard, key) for key, _, _ in items]
        args = [number for _, limit, window in items for number in (limit, window)]
        answers: list[int] = await self._calls.run(_HIT, keys, args)
        return answers

    def _key(self, shard: int, key: str) -> str:
        return self.bridge.prefixed_key(f"{{{shard}}}:{key}")


class RedisRateLimits:
    """A limit for each user over all nodes, in a window that slides; exact.

    While Redis is away each node holds to the limit by itself: it has counted along,
    so that an outage is neither a free pass nor a refusal, and nobody waits for it.
    """

    def __init__(
        self,
        limit: str,
        client: Client,
        prefix: str,
        metrics: Metrics,
        is_available: Callable[[], bool] = lambda: True,
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        """`limit` is like "60/minute"; an empty one limits nothing."""
        self._limit: RateLimitItem | None = parse(limit) if limit else None
        self._local = memory.RateLimits(limit)
        self._metrics = metrics
        calls = RedisCalls(client, is_available, timeout=timeout)
        self._shared = MovingWindowRateLimiter(SharedWindows(client, prefix, calls))

    async def hit(self, user_id: UUID) -> float | None:
        """Count one: None if that is within the limit, else after how many seconds it may be."""
        if self._limit is None:
            return None
        try:
            if not await self._shared.hit(self._limit, str(user_id)):
                return await self._wait(self._limit, user_id)
        except RedisAway:
            self._metrics.rate_limit_fallback()
            return await self._local.hit(user_id)
        await self._local.hit(user_id)
        return None

    async def _wait(self, limit: RateLimitItem, user_id: UUID) -> float:
        """For how many seconds someone who was refused has to wait."""
        try:
            stats = await self._shared.get_window_stats(limit, str(user_id))
        except RedisAway:
            return RETRY_AFTER
        return max(stats.reset_time - time.time(), 0.0)
