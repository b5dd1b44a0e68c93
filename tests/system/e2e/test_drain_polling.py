"""SIGTERM while real clients poll: all of them come back to the server that follows."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import socketio  # type: ignore[import-untyped]
from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.app import add_person
from tests.kit.clients import TIMEOUT, Rest, open_chat
from tests.kit.processes import serving
from tests.kit.waiting import eventually
from tests.system.e2e.node_client import NodeClient


async def test_clients_on_polling_come_back_after_a_restart(
    js: NodeClient, database_url: str, tmp_path: Path
) -> None:
    """python-socketio's stays away for good from a server that says CLOSE to its poll."""
    port, connects = free_port(), list[str]()
    async with AsyncExitStack() as stack:
        # Its own sessions it leaves open when a connection ends.
        http = await stack.enter_async_context(ClientSession())
        python = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.5, http_session=http
        )
        server = await stack.enter_async_context(
            serving(database_url, port, tmp_path, server__drain_spread=0)
        )
        person = await add_person(database_url)
        chat = await open_chat(Rest(http, server.base_url), database_url)
        python.on("connect", lambda: connects.append(python.sid))
        await python.connect(
            server.base_url, auth={"token": person.token()}, transports=["polling"]
        )
        node = await js.connected(server.base_url, chat.tenant, transports=["polling"])
        await eventually(lambda: len(connects) == 1, TIMEOUT)
        await asyncio.sleep(0.1)  # their polls wait, as those of idle clients do
        server.terminate()
        assert await server.exit_code() == 0
        await stack.enter_async_context(serving(database_url, port, tmp_path))
        await node.heard("connect", 2)
        await eventually(lambda: len(connects) == 2, TIMEOUT)
        assert (await node.call("join", {"conversation_id": chat.id}))["ok"]
        assert (await python.call("sync", {}))["ok"]
        await python.disconnect()
        await node.close()
