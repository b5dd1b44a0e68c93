"""The real socket.io-client: the server is killed or restarted, and it comes back by itself."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.clients import Chat, Rest, open_chat
from tests.kit.processes import ServerProcess, serving
from tests.system.e2e.node_client import JsSocket, NodeClient
from tests.system.e2e.stage import TRANSPORTS


async def open_sockets(js: NodeClient, server: ServerProcess, chat: Chat) -> list[JsSocket]:
    """One of the tenant's for each transport, and one of the landlord's."""
    people = [chat.tenant] * len(TRANSPORTS) + [chat.landlord]
    return [
        await js.connected(server.base_url, person, transports=transports)
        for person, transports in zip(people, [*TRANSPORTS, TRANSPORTS[-1]], strict=True)
    ]


async def talk(chat: Chat, sockets: Sequence[JsSocket], content: str) -> None:
    """Every socket sends, and every socket hears all of it, in one order."""
    before = len(sockets[0].of("message"))
    for number, socket in enumerate(sockets):
        key, text = str(uuid4()), f"{content} {number}"
        message = {"conversation_id": chat.id, "content": text, "client_msg_id": key}
        await socket.ok("message", message)
    for socket in sockets:
        await socket.heard("message", before + len(sockets))
    logs = [[message["seq"] for message in socket.of("message")] for socket in sockets]
    assert logs == [logs[0]] * len(sockets)


@pytest.mark.parametrize("is_killed", [True, False], ids=["kill -9", "SIGTERM"])
async def test_clients_come_back_by_themselves_and_nothing_acknowledged_is_lost(
    js: NodeClient, database_url: str, tmp_path: Path, *, is_killed: bool
) -> None:
    port = free_port()
    async with ClientSession() as http:
        async with serving(database_url, port, tmp_path) as server:
            rest = Rest(http, server.base_url)
            chat = await open_chat(rest, database_url)
            sockets = await open_sockets(js, server, chat)
            await talk(chat, sockets, "before")
            if is_killed:
                server.kill()
            else:
                server.terminate()
                assert await server.exit_code() == 0
            for socket in sockets:
                # Anything but "io server disconnect", after which it would stay away.
                assert (await socket.heard("disconnect")) in ("transport close", "transport error")
        async with serving(database_url, port, tmp_path):
            for socket in sockets:
                await socket.heard("connect", 2)
            await talk(chat, sockets, "after")
            history = await rest.get(f"conversations/{chat.id}/messages?after_seq=0", chat.tenant)
    count = len(sockets)
    expected = [f"{when} {number}" for when in ("before", "after") for number in range(count)]
    assert [message["content"] for message in history.body] == expected
    assert [message["seq"] for message in history.body] == list(range(1, 2 * count + 1))
