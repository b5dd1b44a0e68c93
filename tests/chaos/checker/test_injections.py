"""What schedule a whole site is seen there while it lasts, and is over after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from chatserver.errors import Unavailable
from tests.chaos.checker.fault_schedules import Injection
from tests.chaos.checker.injections import CLOCK_ERROR, Injections
from tests.chaos.checker.plans import Shape, make_plan
from tests.chaos.checker.site import Site, running_site
from tests.kit.postgres import Databases
from tests.kit.services import Chat, Node, running_node
from tests.kit.stalls import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAN = make_plan(1, Shape(faults="none", nodes=3))

GONE = 'HTTP 400: {"code":1,"message":"Session ID unknown"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    log = tmp_path_factory.mktemp("site") / "server.log"
    async with databases.migrated() as url, running_site(url, PLAN, log) as running:
        yield running


@pytest.mark.parametrize(("seconds", "wrong"), [(1.501, CLOCK_ERROR), (1.5, -CLOCK_ERROR)])
async def test_a_nodes_clock_is_wrong_to_one_side_or_the_other(
    site: Site, seconds: float, wrong: int
) -> None:
    async def clock_error() -> int:
        """In minutes."""
        async with site.http.get(f"{site.nodes[1].server.base_url}/healthz") as response:
            told = parsedate_to_datetime(response.headers["Date"])
        return round((told - datetime.now(UTC)).total_seconds() / 60)

    injection = Injection(0.0, "wrong_clock", "process", seconds, node=1)
    async with Injections(PLAN, site).inject(injection):
        assert await clock_error() == wrong // 60
    assert await clock_error() == 0
    assert site.was_a_clock_ahead or wrong < 0


async def test_whoever_polls_by_a_careless_balancer_is_told_so(site: Site) -> None:
    async def poll() -> str:
        """How the second request of a session is answered."""
        url = f"http://127.0.0.1:{site.port}/socket.io/?EIO=4&transport=polling"
        async with ClientSession() as http:
            async with http.get(url) as response:
                sid = orjson.loads((await response.text())[1:])["sid"]
            async with http.post(f"{url}&sid={sid}", data="40") as response:
                return f"HTTP {response.status}: {await response.text()}"

    injection = Injection(0.0, "careless_balancer", "process", 0.0)
    async with Injections(PLAN, site).inject(injection):
        assert {await poll() for _ in range(6)} == {GONE}
    async with asyncio.timeout(PATIENCE):  # a node that is slow to answer may be out for a while
        while await poll() == GONE:
            pass


async def test_a_months_messages_lie_in_the_default_partition_and_then_in_a_new_one(
    site: Site,
) -> None:
    async with running_node(site.database_url) as node:
        chat = await node.add_chat()
        sent = [await node.send(chat.client, chat)]

        async def send() -> set[str]:
            key = uuid4()
            while True:  # who waits too long for a lock is to come again
                with suppress(Unavailable):
                    sent.append(await node.send(chat.client, chat, client_msg_id=key))
                    return await places(node, chat)

        injection = Injection(0.0, "no_partition", "process", 0.0)
        async with Injections(PLAN, site).inject(injection):
            assert await send() == {"messages_default"}
        assert await send() == {f"messages_{datetime.now(UTC):%Y_%m}"}
        assert await node.all_messages(chat.owner, chat) == sent


async def places(node: Node, chat: Chat) -> set[str]:
    """The partitions that the messages of a conversation are in."""
    rows = await node.sql(
        "SELECT DISTINCT tableoid::regclass::text FROM chat.messages WHERE conversation_id = :id",
        id=chat.id,
    )
    return {str(row[0]).removeprefix("chat.") for row in rows}
