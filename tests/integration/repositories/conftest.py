"""A connection past the services' own."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.kit.services import connected


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database_url) as connection:
        yield connection
