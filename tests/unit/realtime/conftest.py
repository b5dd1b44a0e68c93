"""The protocol's tests run on virtual time (`tests/kit/virtual_time.py`)."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.virtual_time import REAL_TIME, VIRTUAL_TIME, LoopFactories
from tests.unit.realtime.wire import Node, running_node


def pytest_asyncio_loop_factories(item: pytest.Function) -> LoopFactories:
    """Real time for what has a PostgreSQL or asks for it by `@pytest.mark.real_time`."""
    if "postgres_server" in item.fixturenames or item.get_closest_marker("real_time"):
        return REAL_TIME
    return VIRTUAL_TIME


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as running:
        yield running
