"""SIGTERM to a real process whose clients leave one after another."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from chatserver.dev.ports import free_port
from tests.kit.clients import TIMEOUT, Chat, Device, Rest, open_chat, opened
from tests.kit.loads import Load, over_rest, over_socket, stored_keys
from tests.kit.processes import ServerProcess, serving
from tests.kit.services import connected, until_someone_waits
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually

CHATS, DEVICES = 6, 25
"""So many devices for each of the two people of each conversation: 300."""


@asynccontextmanager
async def crowd(
    server: ServerProcess, database_url: str
) -> AsyncIterator[tuple[list[Chat], list[Device]]]:
    """300 devices, and the conversations of those who hold them."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))
        rest = Rest(http, server.base_url)
        chats = [await open_chat(rest, database_url) for _ in range(CHATS)]
        devices = []
        for person in [person for chat in chats for person in chat.people] * DEVICES:
            devices.append(await Device.open(http, server.base_url, person))
            stack.push_async_callback(devices[-1].close)
        yield chats, devices


async def end_of(device: Device) -> float:
    await device.is_closed.wait()
    return time.monotonic()


async def test_three_hundred_sockets_leave_one_after_another_and_no_send_is_in_doubt(
    database_url: str, tmp_path: Path
) -> None:
    spread, load = 2.0, Load()
    async with (
        serving(database_url, free_port(), tmp_path, server__drain_spread=spread) as server,
        crowd(server, database_url) as (chats, devices),
    ):
        sends = [
            over_socket(devices[number], chats[number // 2 % CHATS])
            for number in range(0, len(devices), 10)
        ]
        ends = [asyncio.create_task(end_of(device)) for device in devices]
        senders = [asyncio.create_task(load.keep_sending(send, 0.1)) for send in sends]
        await eventually(lambda: len(load.stored) > len(sends), TIMEOUT)
        before, start = len(load.stored), time.monotonic()
        server.terminate()
        assert await server.exit_code() == 0
        times = sorted(end - start for end in await asyncio.gather(*ends))
        await asyncio.gather(*senders)
    for number, each in enumerate(times):  # nobody leaves before their turn
        assert number <= len(times) * each / spread + 10, times
    assert len(load.stored) > before
    assert load.refused == {}
    # An event without an answer arrived after its socket's turn: it was never begun.
    assert await stored_keys(database_url) == load.stored
    assert len(load.unanswered) <= len(sends)


async def test_requests_are_answered_until_the_end_and_their_connections_closed(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serving(
            database_url,
            free_port(),
            tmp_path,
            server__drain_delay=5,
            server__drain_spread=5,
        ) as server,
        ClientSession(connector=TCPConnector(limit=1)) as early,
        ClientSession(connector=TCPConnector(limit=1)) as late,
    ):
        chat = await open_chat(Rest(early, server.base_url), database_url)
        for http in (early, late):  # each has one open connection then
            answer = await Rest(http, server.base_url).send(chat.tenant, chat.id, content="a")
            assert (answer.status, answer.headers.get("Connection")) == (201, None)
        async with opened(server.base_url, chat.tenant, chat.landlord):
            server.terminate()
            await server.wait_draining()
            # During the delay: on the connection that there is, and on a new one too.
            for _ in range(2):
                answer = await Rest(early, server.base_url).send(chat.tenant, chat.id, content="b")
                assert (answer.status, answer.headers["Connection"]) == (201, "close")
            missing = await Rest(early, server.base_url).get("/nothing")
            assert (missing.status, missing.headers["Connection"]) == (404, "close")
            await until_closed(server)
            # While sockets leave: only on the connection that there is.
            answer = await Rest(late, server.base_url).send(chat.tenant, chat.id, content="c")
            assert (answer.status, answer.headers["Connection"]) == (201, "close")
            with pytest.raises(ClientError):
                await Rest(late, server.base_url).get("/readyz")
            server.terminate()  # the sockets need not take their time
            assert await server.exit_code() == 0


async def until_closed(server: ServerProcess) -> None:
    """Until it accepts no connection any more."""
    with pytest.raises(ClientError):
        while True:
            async with ClientSession() as http:
                await Rest(http, server.base_url).get("/healthz")
            await asyncio.sleep(0.05)


async def test_a_second_signal_skips_the_delay_and_the_spread(
    database_url: str, tmp_path: Path
) -> None:
    longer = 5 * PATIENCE
    for delay in (longer, 0):  # the signal comes in the delay, and in the spread
        slow = {
            "server__drain_delay": delay,
            "server__drain_spread": longer,
            "server__shutdown_grace": longer,
        }
        async with serving(database_url, free_port(), tmp_path, **slow) as server:
            async with ClientSession() as http:
                chat = await open_chat(Rest(http, server.base_url), database_url)
            async with opened(server.base_url, *[chat.tenant] * 6) as devices:
                server.terminate()
                await server.wait_draining()
                await asyncio.sleep(0.1)
                assert [device.is_closed.is_set() for device in devices].count(False) >= 5
                server.terminate()
                assert await server.exit_code() == 0
                for device in devices:
                    await asyncio.wait_for(device.is_closed.wait(), TIMEOUT)


async def test_it_ends_whatever_hangs(database_url: str, tmp_path: Path) -> None:
    """A request that the database holds up for longer than the grace, and its socket."""
    async with (
        serving(database_url, free_port(), tmp_path, server__shutdown_grace=1) as server,
        ClientSession() as http,
        connected(database_url) as locking,
        connected(database_url) as looking,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, chat.tenant) as devices, locking.transaction():
            await locking.execute(
                "SELECT FROM chat.conversations WHERE id = $1 FOR UPDATE", chat.id
            )
            sends = (over_socket(devices[0], chat), over_rest(rest, chat))
            answers = [asyncio.create_task(send(str(uuid4()))) for send in sends]
            await until_someone_waits(looking)
            server.terminate()
            assert await server.exit_code() == 0
            socket_end, rest_end = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(socket_end, ConnectionError)
    assert rest_end == "unavailable" or isinstance(rest_end, ClientError | ConnectionError)
