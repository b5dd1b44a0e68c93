"""Clients that take their time: nothing of a real process waits for them without end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.app import Person, add_person
from tests.kit.attackers import drip, post
from tests.kit.clients import Rest
from tests.kit.processes import ServerProcess, serving
from tests.kit.stalls import PATIENCE

TIMEOUT = 1.0

IN_TIME = {"server__request_timeout": TIMEOUT, "realtime__connect_timeout": TIMEOUT}


@pytest.fixture
async def server(database_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with serving(database_url, free_port(), tmp_path, **IN_TIME) as server:
        yield server


@pytest.fixture
async def person(database_url: str) -> Person:
    return await add_person(database_url)


async def test_connections_that_never_come_to_the_point_are_closed(
    server: ServerProcess, person: Person
) -> None:
    port = int(server.base_url.rpartition(":")[2])
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)
        assert (await rest.get("/healthz")).status == 200
        silent, unfinished, dripped, slow, huge = await asyncio.gather(
            drip(port, b""),
            drip(port, head),
            drip(port, head, b"a"),
            drip(port, post(person, 200), b" "),
            drip(port, post(person, 10**9)),
        )
        assert (await rest.get("/healthz")).status == 200
    assert silent == unfinished == dripped == b""
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert huge.startswith(b"HTTP/1.1 413 ")


async def test_a_socket_that_never_connects_is_closed(server: ServerProcess) -> None:
    async with ClientSession() as http:
        url = f"{server.base_url}/socket.io/?EIO=4"
        websocket = await http.ws_connect(f"{url}&transport=websocket")
        assert (await websocket.receive()).data.startswith("0")
        async with asyncio.timeout(PATIENCE):
            assert (await websocket.receive()).data == 1008
        rest = Rest(http, server.base_url)
        assert (await rest.get("/healthz")).status == 200
