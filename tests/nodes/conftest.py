"""A Redis, and nodes in this process that share it and a database."""

from collections.abc import AsyncIterator

import pytest

from chatserver.dev.redis import EmbeddedRedis


@pytest.fixture
async def redis() -> AsyncIterator[EmbeddedRedis]:
    """One that the test may kill or freeze."""
    async with EmbeddedRedis() as server:
        yield server
