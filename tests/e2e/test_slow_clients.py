"""Clients that take their time: nothing of a real process waits for them without end."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.kit.app import Person, add_person
from tests.kit.clients import Rest
from tests.kit.processes import ServerProcess, free_port, serving

TIMEOUT = 1.0
PATIENCE = 10.0
"""Seconds in which an attacker's connection has to be closed, however busy the machine."""

IN_TIME = {"server__request_timeout": TIMEOUT, "realtime__connect_timeout": TIMEOUT}


@pytest.fixture
async def server(database_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with serving(database_url, free_port(), tmp_path, **IN_TIME) as server:
        yield server


@pytest.fixture
async def person(database_url: str) -> Person:
    return await add_person(database_url)


async def drip(server: ServerProcess, words: bytes, drop: bytes = b"") -> bytes:
    """Send `words` and then `drop` again and again: what comes back until the end."""
    port = int(server.base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)

    async def go_on() -> None:
        while drop:
            await asyncio.sleep(0.1)
            writer.write(drop)

    dripping = asyncio.create_task(go_on())
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while data := await reader.read(65536):
                answer += data
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.close()
    return answer


def post(person: Person, length: int) -> bytes:
    return (
        "POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nAuthorization: Bearer {person.token()}\r\n\r\n"
    ).encode()


async def test_connections_that_never_come_to_the_point_are_closed(
    server: ServerProcess, person: Person
) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
    began = time.monotonic()
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)
        assert (await rest.get("/readyz")).status == 200
        silent, unfinished, dripped, slow, huge = await asyncio.gather(
            drip(server, b""),
            drip(server, head),
            drip(server, head, b"a"),
            drip(server, post(person, 200), b" "),
            drip(server, post(person, 10**9)),
        )
        assert (await rest.get("/readyz")).status == 200
    assert time.monotonic() - began < PATIENCE
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
        assert (await rest.get("/readyz")).status == 200
