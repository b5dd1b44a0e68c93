"""Fixtures of the REST edge's tests."""

import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
import structlog

from chatserver.services import readiness
from chatserver.settings import LoggingSettings
from chatserver.telemetry import logs
from tests.integration.api.rest import Rest, running_rest

Start = Callable[..., Awaitable[Rest]]


@pytest.fixture(autouse=True)
def patient_readiness() -> Iterator[None]:
    """What answers is there, however late: the machine may be busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readiness, "TIMEOUT", 30.0)
        yield


@pytest.fixture(scope="module")
async def start(database_url: str) -> AsyncIterator[Start]:
    """Gives new people on a node with these settings (`section__key=value`).

    The module's tests share the node, and its database with all its other nodes.
    """
    nodes: dict[str, Rest] = {}
    async with AsyncExitStack() as stack:

        async def start_one(**overrides: Any) -> Rest:
            name = repr(overrides)
            if name not in nodes:
                running = running_rest(database_url, **overrides)
                nodes[name] = await stack.enter_async_context(running)
            return await nodes[name].with_new_people()

        yield start_one


@pytest.fixture
async def rest(start: Start) -> Rest:
    return await start()


@pytest.fixture
async def own_rest(own_database_url: str) -> AsyncIterator[Rest]:
    """A node and a database of this test alone, which may break or measure them."""
    async with running_rest(own_database_url) as rest:
        yield rest


class Log:
    """What has been logged, as the JSON lines of production."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def records(self, event: str) -> list[dict[str, Any]]:
        lines = (orjson.loads(line) for line in self.text.splitlines())
        return [record for record in lines if record["event"] == event]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Log as in production; to be asked for before a node is started."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(LoggingSettings(level="debug", format="json", messages=1.0))
    monkeypatch.undo()
    yield Log(stream)
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
