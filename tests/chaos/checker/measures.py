"""Before and after a run: the people in the database, and what the server holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from tests.chaos.checker.clients import API, Client, Keys
from tests.chaos.checker.plans import Plan
from tests.chaos.checker.servers import SECRET
from tests.chaos.checker.site import Node, Site
from tests.chaos.checker.views import Resources


@asynccontextmanager
async def people_http() -> AsyncIterator[ClientSession]:
    """What everybody's REST calls and polls go through."""
    connector = TCPConnector(limit=0, keepalive_timeout=5.0)
    async with ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as http:
        yield http


async def add_people(database_url: str, plan: Plan) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        people = [*plan.people, plan.service, *(one.person for one in plan.leavers)]
        await connection.executemany(
            "INSERT INTO core.users (id, first_name) VALUES ($1, $2)",
            [(person.id, person.name) for person in people],
        )
        await connection.executemany(
            "INSERT INTO core.listings (id, owner_user_id, title) VALUES ($1, $2, $3)",
            [(chat.listing_id, chat.owner.id, f"Flat {chat.number}") for chat in plan.chats],
        )
    finally:
        await connection.close()


async def warm_up(site: Site, plan: Plan) -> list[Resources]:
    """What each node holds once it has been used and everybody has left again."""
    keys = Keys(SECRET, [])
    async with people_http() as http:
        client = [Client(http, port, person, keys, lambda _: None)
                 for person in plan.people for port in site.ports]  # fmt: skip
        await asyncio.gather(*(one.rest("GET", f"{API}/unread-count") for one in client))
    await asyncio.sleep(0.1)
    return await measure(site)


async def was_partitioned(site: Site) -> bool:
    """Whether a node did not hear the others for a while, as after it stood still."""
    metrics = [await node.server.metrics(site.http) for node in site.nodes]
    return any(each.get("chat_backplane_lost_total", 0.0) for each in metrics)


async def measure(site: Site) -> list[Resources]:
    """What each node holds."""
    connection = await asyncpg.connect(site.database_url.replace("+asyncpg", ""))
    try:
        transactions = await connection.fetchval(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'chatserver'
                 AND state LIKE 'idle in transaction%'"""
        )
    finally:
        await connection.close()
    return [await _measure(site, node, transactions) for node in site.nodes]


async def _measure(site: Site, node: Node, transactions: int) -> Resources:
    metrics = await node.server.metrics(site.http)
    process = node.server.process()
    return Resources(
        sockets=metrics.get("chat_engineio_connections", 0.0),
        sessions=metrics.get("websocket_connections_total", 0.0),
        tasks=metrics["checker_tasks"],
        files=process.num_fds(),
        memory=process.memory_info().rss,
        connections=node.database.open,
        transactions=transactions,
    )
