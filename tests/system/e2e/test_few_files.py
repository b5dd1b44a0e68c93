"""A node that may have few files open: strangers take what there is, and health keeps its own."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.app import add_person
from tests.kit.clients import Rest
from tests.kit.few_files import FEW
from tests.kit.processes import serving

CHECKS = 12
CROWD = 2 * FEW


async def test_health_and_who_is_connected_go_on_when_strangers_take_all_connections(
    database_url: str, tmp_path: Path
) -> None:
    person = await add_person(database_url)
    port = free_port()
    # Strangers come from this machine, whose connections have no limit of their own.
    node = serving(database_url, port, tmp_path, program=("tests.kit.few_files",))
    async with node as server, ClientSession() as kept, AsyncExitStack() as crowd:
        rest = Rest(kept, server.base_url)
        assert (await rest.get("conversations", person)).status == 200
        for _ in range(CROWD):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            crowd.callback(writer.close)
        for _ in range(CHECKS):
            async with ClientSession() as fresh:
                for path in ("/healthz", "/readyz"):
                    assert (await Rest(fresh, server.base_url).get(path)).status == 200
        # PostgreSQL, on a connection that was there before.
        assert (await rest.get("conversations", person)).status == 200
        assert '"few_open_files"' in server.log
        assert '"connections_refused"' in server.log
        assert "Too many open files" not in server.log
