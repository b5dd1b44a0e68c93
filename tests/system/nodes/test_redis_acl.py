"""The shipped ACL user may do all that a node needs, and nothing else."""

import hashlib
from pathlib import Path

import pytest
from aiohttp import ClientSession
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from chatserver.dev.redis import EmbeddedRedis
from chatserver.settings import config_directory
from tests.kit.app import running_server
from tests.kit.clients import Device, Rest, open_chat
from tests.kit.services import principal
from tests.kit.waiting import eventually

pytestmark = pytest.mark.usefixtures("patient")

PASSWORD = "a password"


def acl_file(directory: Path) -> Path:
    text = (config_directory() / "redis.acl").read_text("utf-8")
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    path = directory / "redis.acl"
    path.write_text(text.replace("REPLACE_WITH_THE_SHA256_OF_THE_PASSWORD", digest))
    return path


async def test_two_nodes_live_with_it(database_url: str, tmp_path: Path) -> None:
    async with (
        EmbeddedRedis({"aclfile": str(acl_file(tmp_path))}) as redis,
        ClientSession() as http,
    ):
        url = f"redis://chat:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{redis.port}/0"
        options = {"redis__url": url, "rate_limit__messages": "2/minute"}
        async with (
            running_server(database_url, **options) as one,
            running_server(database_url, **options) as other,
        ):
            for server in (one, other):
                bus = server.node.backplane.bus
                assert bus is not None
                await eventually(lambda bus=bus: bus.is_receiving)  # type: ignore[misc]
            chat = await open_chat(Rest(http, one.base_url), database_url)
            landlord = await Device.open(http, other.base_url, chat.landlord)
            await landlord.call("join", {"conversation_id": chat.id})
            tenant = await Device.open(http, one.base_url, chat.tenant)
            assert (await landlord.heard("presence"))[0]["is_online"]
            codes = []
            for node in (one, other, one):
                answer = await Rest(http, node.base_url).send(chat.tenant, chat.id, content="x")
                codes.append(answer.status)
            assert codes == [201, 201, 429], "one limit for both"
            # What one node has charged, the other knows once both have settled.
            one.node.budgets.charge(principal(chat.landlord.id), 1e6)
            for node in (one, other):
                await node.node.budgets.settle()
            other.node.budgets.charge(principal(chat.landlord.id), 100)
            await other.node.budgets.settle()
            refused = await Rest(http, other.base_url).get("unread-count", chat.landlord)
            assert refused.status == 429, "one budget for both"
            assert (await Rest(http, other.base_url).get("unread-count", chat.tenant)).status == 200
            await landlord.heard("message", 2)
            await tenant.close()
            assert not (await landlord.heard("presence", 2))[1]["is_online"]
            await landlord.close()


@pytest.mark.parametrize("command", ["GET other", "FLUSHALL", "CONFIG GET *", "KEYS *", "MONITOR"])
async def test_nothing_else_is_allowed(tmp_path: Path, command: str) -> None:
    async with EmbeddedRedis({"aclfile": str(acl_file(tmp_path))}) as redis:
        client = Redis(port=redis.port, username="chat", password=PASSWORD)
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command.split())  # type: ignore[no-untyped-call]
        await client.aclose()
