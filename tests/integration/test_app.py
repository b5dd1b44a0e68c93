"""A node as a whole: what it leaves behind when it ends, or does not begin."""

import asyncio
from uuid import UUID

import pytest
from aiohttp import web

from chatserver.app import Node, create_node
from chatserver.dev.redis import EmbeddedRedis
from chatserver.models import MessageType
from chatserver.services.messages import Draft
from chatserver.settings import SettingsError
from tests.kit.app import add_listing, add_person
from tests.kit.redis import redis_client
from tests.kit.services import connected, principal, settings_for
from tests.kit.stalls import PATIENCE


async def started(node: Node) -> web.AppRunner:
    runner = web.AppRunner(node.app)
    await runner.setup()
    return runner


async def is_listed(database_url: str, node: Node) -> bool:
    """Whether other nodes still take it to be alive."""
    async with connected(database_url) as connection:
        found = await connection.fetchval(
            "SELECT count(*) FROM chat.nodes WHERE id = $1", node.nodes.id
        )
    return bool(found)


async def count_connections(database_url: str) -> int:
    """Those to the database of the test, but for its own."""
    async with connected(database_url) as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    return found


async def test_what_waits_is_sent_before_the_node_says_goodbye(
    database_url: str, redis_server: EmbeddedRedis, redis_prefix: str
) -> None:
    tenant, landlord = await add_person(database_url), await add_person(database_url)
    listing = await add_listing(database_url, landlord)
    options = {"redis__url": redis_server.url, "redis__prefix": redis_prefix}
    node = await create_node(settings_for(database_url, **options))
    runner = await started(node)
    async with redis_client(redis_server) as redis, redis.pubsub() as channels:
        await channels.psubscribe(f"{redis_prefix}:*")
        caller = principal(tenant.id)
        conversation, _ = await node.conversations.open(caller, listing)
        drafts = [Draft(f"message {number}", MessageType.TEXT) for number in range(20)]
        sends = [
            asyncio.create_task(node.messages.send(caller, UUID(str(conversation.id)), draft))
            for draft in drafts
        ]
        while not node.writer._group._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert await is_listed(database_url, node)
        await runner.cleanup()

        sent = {(await send).message.id for send in sends}
        told: set[UUID] = set()
        async with asyncio.timeout(PATIENCE):
            async for published in channels.listen():
                data = published["data"]
                if isinstance(data, bytes):
                    told |= {each for each in sent if str(each).encode() in data}
                    if b'"bye"' in data:
                        break
    assert told == sent
    assert not await is_listed(database_url, node)


async def test_a_part_that_cannot_be_closed_keeps_no_other_open(database_url: str) -> None:
    async def fail() -> None:
        raise RuntimeError("this part cannot be closed")

    node = await create_node(settings_for(database_url))
    runner = await started(node)
    assert await is_listed(database_url, node)
    node.closing.push_async_callback(fail)
    with pytest.raises(RuntimeError, match="this part"):
        await runner.cleanup()
    assert node.http.closed
    assert not await is_listed(database_url, node)
    assert await count_connections(database_url) == 0


async def test_a_node_that_cannot_be_put_together_leaves_nothing_open(database_url: str) -> None:
    settings = settings_for(database_url, jwt__algorithms=("none",))
    with pytest.raises(SettingsError, match="algorithms"):
        await create_node(settings)
    assert await count_connections(database_url) == 0
