"""Fault 6: all connections of all nodes to PostgreSQL are busy. Nothing hangs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.chaos.faults.load_generator import LoadGenerator, p99, slowest
from tests.chaos.faults.records import Figure, record
from tests.chaos.faults.sites import Site, running_site, timed
from tests.kit.clients import Answer, Chat, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.services import connected, until_someone_waits

pytestmark = pytest.mark.asyncio(loop_scope="package")

POOL: dict[str, Any] = {"database__pool_size": 3, "database__pool_timeout": 1.0}
LOCK = "SELECT 1 FROM chat.conversations WHERE id = $1 FOR UPDATE"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with databases.migrated() as url, running_site(url, directory, **POOL) as running:
        yield running


async def test_without_a_free_connection_requests_are_refused_and_sends_go_on(
    site: Site, load: LoadGenerator
) -> None:
    async with ClientSession() as http, connected(site.database_url) as connection:
        rests = [Rest(http, node.base_url) for node in site.nodes]
        chat = await open_chat(rests[0], site.database_url)
        sent = await rests[0].send(chat.tenant, chat.id, content="to be changed")
        await connection.execute("BEGIN")
        await connection.fetch(LOCK, chat.id)
        # The virtual users have synced by then: what a device asks has its turn before
        # what it sends next.
        await asyncio.sleep(1)
        with load.window() as window:
            path = f"messages/{sent.body['id']}"
            holding = [
                asyncio.create_task(edit(rest, path, chat, f"{n}"))
                for n in range(POOL["database__pool_size"])
                for rest in rests
            ]
            await until_someone_waits(connection, len(holding))
            refused = await asyncio.gather(*(ask(rest, chat) for rest in rests * 5))
            healthy = await asyncio.gather(*(timed(rest.get("/healthz")) for rest in rests))
            await load.until_enough(window)
        await connection.execute("ROLLBACK")
        held = await asyncio.gather(*holding)
    await load.settle()
    sends = load.overlapping(window)
    assert {(answer.status, answer.body["code"]) for answer, _ in refused} == {(503, "unavailable")}
    assert {answer.status for answer, _ in healthy} == {200}
    assert {answer.status for answer in held} == {200}
    assert all(answer.body["retry_after"] <= 2 for answer, _ in refused)
    record(
        6,
        "the connection pools are exhausted",
        sends,
        Figure("requests refused", len(refused), unit=""),
        Figure("after", max(seconds for _, seconds in refused), 2.0),
        Figure("retry_after", max(answer.body["retry_after"] for answer, _ in refused), 2.0),
        Figure("/healthz answers within", max(seconds for _, seconds in healthy), 1.0),
        Figure("sends refused at first", sum(bool(s.refusals) for s in sends), unit=""),
        Figure("p99 of the acknowledgement", p99(sends), 1.0),
        Figure("longest send", slowest(sends), 5.0),
    )
    refusals = [error for send in sends for error in send.refusals]
    assert all(error["retry_after"] <= 2 for error in refusals), refusals


async def edit(rest: Rest, path: str, chat: Chat, content: str) -> Answer:
    """Until it has a connection, which is refused where the load has them for too long."""
    while True:
        answer = await rest.call("PATCH", path, chat.tenant, {"content": content})
        if answer.status != 503:
            return answer


async def ask(rest: Rest, chat: Chat) -> tuple[Answer, float]:
    return await timed(rest.get("conversations", chat.tenant))
