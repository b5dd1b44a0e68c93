"""The protocol's tests run on virtual time: in-memory sockets, and a clock that waits for nobody.

The loop's clock stands while anything can run and then moves to the next timer at once. So
a test of 30 seconds takes a moment, and a machine that stands still makes no timer late. A
test that waits for what cannot come any more fails at once (`SleepForeverError`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohappyeyeballs
import async_solipsism  # type: ignore[import-untyped]
import pytest

from tests.unit.realtime.wire import Node, running_node

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, LoopFactory]:
    """Real time for what has a PostgreSQL or asks for it by `@pytest.mark.real_time`."""
    if "postgres_server" in item.fixturenames or item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": async_solipsism.EventLoop}


@pytest.fixture(autouse=True)
def _in_memory_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's clients connect by a library that makes sockets of the operating system."""
    start_connection = aiohappyeyeballs.start_connection

    async def start(*args: Any, **options: Any) -> Any:
        is_virtual = isinstance(asyncio.get_running_loop(), async_solipsism.EventLoop)
        connect = async_solipsism.aiohappyeyeballs_start_connection
        return await (connect if is_virtual else start_connection)(*args, **options)

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as running:
        yield running
