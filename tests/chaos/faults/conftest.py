"""A cluster for all who need no other, and a load of its own for each test.

They live in the package's loop, and so must the tests:
pytestmark = pytest.mark.asyncio(loop_scope="package").
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.faults.load_generator import LoadGenerator, running_load
from tests.chaos.faults.sites import Site, running_site
from tests.kit.postgres import Databases


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Every test leaves it healed, with all nodes running."""
    directory = tmp_path_factory.mktemp("site")
    async with databases.migrated() as url, running_site(url, directory) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def load(site: Site) -> AsyncIterator[LoadGenerator]:
    async with running_load(site) as running:
        yield running
