"""Nodes for the tests of services: all real, on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.proxy import Proxy, postgres_upstream, running_proxy
from tests.kit.services import Node, running_node

MEDIA = "https://media.example.org/"


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
