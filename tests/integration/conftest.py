"""A database and the services of a node for each module; each test makes people of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.postgres import Databases
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy
from tests.kit.services import Node, running_node

MEDIA = "https://media.example.org/"


@pytest.fixture(scope="module")
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """The module's database, with all migrations and what its earlier tests have left."""
    async with databases.migrated() as url:
        yield url


@pytest.fixture
async def own_database_url(databases: Databases) -> AsyncIterator[str]:
    """A database of this test alone, for one that counts or breaks what is in it."""
    async with databases.migrated() as url:
        yield url


@pytest.fixture(scope="module")
async def module_node(database_url: str) -> AsyncIterator[Node]:
    async with running_node(database_url, messages__media_origins=[MEDIA]) as node:
        yield node


@pytest.fixture
def node(module_node: Node) -> Node:
    """The module's node, as if nothing had been published yet."""
    module_node.publisher.clear()
    return module_node


@pytest.fixture
async def own_node(own_database_url: str) -> AsyncIterator[Node]:
    """A node on a database that nobody else uses."""
    async with running_node(own_database_url, messages__media_origins=[MEDIA]) as node:
        yield node


@pytest.fixture
async def other_node(database_url: str) -> AsyncIterator[Node]:
    """A second one on the module's database."""
    async with running_node(database_url) as node:
        yield node


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """In front of the module's database, for a node of the test's own."""
    async with running_proxy(postgres_upstream(database_url)) as proxy:
        yield proxy
