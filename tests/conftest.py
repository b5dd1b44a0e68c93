"""Fixtures for every test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.postgres import Databases, running_postgres
from tests.kit.virtual_time import REAL_TIME, VIRTUAL_TIME, LoopFactories, connect_in_memory

# A machine that stands still makes neither a test nor what is drawn for it slow.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

DIRECTORY = Path(__file__).parent

LEVELS = ("chaos", "system", "kit", "integration", "unit")
"""Directories of tests, those whose tests take longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest, so that no worker is left with them when the others are done."""

    def rank(item: pytest.Item) -> int:
        return LEVELS.index(item.path.relative_to(DIRECTORY).parts[0])

    items.sort(key=rank)


def pytest_asyncio_loop_factories(item: pytest.Function) -> LoopFactories:
    """Virtual time for what asks for it by `@pytest.mark.virtual_time`."""
    return VIRTUAL_TIME if item.get_closest_marker("virtual_time") else REAL_TIME


@pytest.fixture(autouse=True)
def _in_memory_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_in_memory(monkeypatch)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The server of the whole run (of each xdist worker); no test may stop it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: EmbeddedPostgres) -> Databases:
    return Databases(postgres_server)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of this test alone, with all migrations and no rows."""
    async with databases.migrated() as url:
        yield url


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of this test alone, with nothing in it."""
    async with databases.empty() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """The Redis of the whole run (of each xdist worker); no test may stop or empty it."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_prefix() -> str:
    """What the keys of this test alone begin with."""
    return f"test-{uuid4().hex[:12]}"
