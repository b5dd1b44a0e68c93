"""Turns at both edges: who asks for everything at once keeps no connection from the others."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from aiohttp import ClientSession

from chatserver.services.turns import AT_ONCE
from tests.kit.app import RunningServer, running_server
from tests.kit.clients import TIMEOUT, Chat, Device, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.services import connected

POOL = AT_ONCE + 1
LOCK = "SELECT 1 FROM chat.conversations WHERE id = $1 FOR UPDATE"
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture(scope="module")
async def server(databases: Databases) -> AsyncIterator[RunningServer]:
    async with (
        databases.migrated() as url,
        running_server(url, database__pool_size=POOL, rate_limit__user="1200/minute") as running,
    ):
        yield running


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as http:
        yield http


async def assert_others_are_served(rest: Rest, server: RunningServer, chat: Chat) -> None:
    """While as much of the tenant's work as may be is held up in PostgreSQL."""
    async with connected(server.database_url) as connection, asyncio.timeout(TIMEOUT):
        while await connection.fetchval(WAITING) < AT_ONCE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for _ in range(3):
        answer = await rest.get("conversations", chat.landlord)
        assert answer.status == 200, answer


async def test_many_requests_of_one_user_leave_connections_for_the_others(
    server: RunningServer, http: ClientSession
) -> None:
    rest = Rest(http, server.base_url)
    chat = await open_chat(rest, server.database_url)
    sent = await rest.send(chat.tenant, chat.id, content="to be changed")
    path = f"messages/{sent.body['id']}"
    async with connected(server.database_url) as connection, connection.transaction():
        await connection.fetch(LOCK, UUID(chat.id))
        edits = [
            asyncio.create_task(rest.call("PATCH", path, chat.tenant, {"content": f"{number}"}))
            for number in range(3 * POOL)
        ]
        await assert_others_are_served(rest, server, chat)
    codes = {answer.status for answer in await asyncio.gather(*edits)}
    assert codes <= {200, 503}
    assert len(server.node.budgets.turns) == 0


async def test_many_sockets_of_one_user_leave_connections_for_the_others(
    server: RunningServer, http: ClientSession
) -> None:
    rest = Rest(http, server.base_url)
    chat = await open_chat(rest, server.database_url)
    sent = await rest.send(chat.tenant, chat.id, content="to be changed")
    devices = [await Device.open(http, server.base_url, chat.tenant) for _ in range(2 * POOL)]
    async with connected(server.database_url) as connection, connection.transaction():
        await connection.fetch(LOCK, UUID(chat.id))
        payload = {"message_id": sent.body["id"], "content": "changed"}
        edits = [asyncio.create_task(device.call("edit", payload)) for device in devices]
        await assert_others_are_served(rest, server, chat)
    assert all(answer["ok"] for answer in await asyncio.gather(*edits))
    for device in devices:
        await device.close()
