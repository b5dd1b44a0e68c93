"""Fixtures of the end-to-end tests: one Node.js process for each module."""

from collections.abc import AsyncIterator

import pytest

from tests.system.e2e.node_client import NodeClient, running_node_client


@pytest.fixture(scope="module")
async def node_process() -> AsyncIterator[NodeClient]:
    async with running_node_client() as client:
        yield client


@pytest.fixture
async def js(node_process: NodeClient) -> AsyncIterator[NodeClient]:
    """The real client, without any socket left from the test before.

    It lives in the module's loop, and so must the tests that use it.
    """
    yield node_process
    await node_process.reset()
