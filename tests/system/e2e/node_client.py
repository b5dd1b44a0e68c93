"""The real npm socket.io-client: a Node.js process that opens sockets for a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chatserver.dev.node import find_node
from tests.system.e2e.client_process import ClientProcess, ClientSocket, running_process

DRIVER = Path(__file__).parents[2] / "js" / "driver.mjs"

NodeClient = ClientProcess
JsSocket = ClientSocket


@asynccontextmanager
async def running_node_client() -> AsyncIterator[NodeClient]:
    async with running_process(find_node().binary, DRIVER) as client:
        yield client
