"""Nodes that share presence leases on a Redis, as far as leases are concerned."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis

from chatserver.backplane.redis_calls import TIMEOUT
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.dev.redis import EmbeddedRedis

ONE, TWO = UUID(int=1), UUID(int=2)

TTL = 30.0


class Nodes:
    """Two nodes on one Redis, and whatever of them a test makes more."""

    def __init__(
        self, server: EmbeddedRedis, prefix: str, timeout: float, claim_ttl: float
    ) -> None:
        self.server, self.prefix, self.timeout = server, prefix, timeout
        self.claim_ttl = claim_ttl
        self.client: Redis = Redis.from_url(server.url)
        self.one, self.two = self.new(), self.new()

    def new(self, is_available: Callable[[], bool] = lambda: True) -> RedisLeases:
        return RedisLeases(
            self.client,
            self.prefix,
            is_available,
            claim_ttl=self.claim_ttl,
            return_delay=0.5,
            timeout=self.timeout,
        )

    async def keys(self) -> set[str]:
        return {key.decode() for key in await self.client.keys(f"{self.prefix}:*")}

    async def untold(self) -> int:
        """Of how many users a change is to be told, whoever has claimed it."""
        return int(await self.client.zcard(self._untold))

    async def end_claims(self) -> None:
        """Move all claims back by `claim_ttl`, so that they end now."""
        for user in await self.client.zrange(self._untold, 0, -1):
            await self.client.zincrby(self._untold, -1000 * self.claim_ttl, user)

    @property
    def _untold(self) -> str:
        return f"{self.prefix}:presence:{{0}}:untold"


@asynccontextmanager
async def running_nodes(
    server: EmbeddedRedis, prefix: str, deadline: float = TIMEOUT, *, claim_ttl: float = 0.5
) -> AsyncIterator[Nodes]:
    nodes = Nodes(server, prefix, deadline, claim_ttl)
    try:
        yield nodes
    finally:
        await nodes.client.aclose()


async def told(leases: RedisLeases) -> list[UUID]:
    """Take what a tick hands out, tell and settle it."""
    changed = list(await leases.expire())
    await leases.settle(changed)
    return changed
