"""Nodes for the tests of services: all real, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from chatserver.services import revocations
from chatserver.services.writer import CONNECTION_SETTINGS
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy
from tests.kit.services import Node, running_node

MEDIA = "https://media.example.org/"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a moment is no lock, and no database, that is away."""
    monkeypatch.setitem(CONNECTION_SETTINGS, "lock_timeout", "9s")
    monkeypatch.setattr(revocations, "POLL_TIMEOUT", 10.0)


@pytest.fixture
async def node(database_url: str) -> AsyncIterator[Node]:
    async with running_node(database_url, messages__media_origins=[MEDIA]) as node:
        yield node


@pytest.fixture
async def other_node(database_url: str) -> AsyncIterator[Node]:
    """A second one on the same database."""
    async with running_node(database_url) as node:
        yield node


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """In front of the database, for a node of the test's own."""
    async with running_proxy(postgres_upstream(database_url)) as proxy:
        yield proxy
