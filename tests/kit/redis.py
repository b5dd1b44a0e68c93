"""A real Redis for tests, each with a corner of its own in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from chatserver.dev.redis import EmbeddedRedis


@asynccontextmanager
async def redis_client(server: EmbeddedRedis) -> AsyncIterator["Redis"]:
    """A client of the test's own, to look at what is there."""
    client: Redis = Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()
