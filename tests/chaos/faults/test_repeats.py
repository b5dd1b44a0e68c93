"""Fault 9: one send 50 times at once, over every transport of every node, across a month's end."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.chaos.faults.load_generator import LoadGenerator, Say, Send, over_rest, over_socket, p99
from tests.chaos.faults.records import Figure, is_for_table, record
from tests.chaos.faults.sites import Site
from tests.kit.clients import Chat, Device, Rest
from tests.kit.services import connected
from tests.system.e2e.node_client import running_node_client

pytestmark = pytest.mark.asyncio(loop_scope="package")

TIMES = 50
ROUNDS = 10 if is_for_table() else 3

HEARD = 10.0
"""Seconds: every device has it by then."""


class Transports:
    """REST, a websocket and a polling session on each node, for the landlord of `chat`."""

    def __init__(self, chat: Chat, says: Sequence[Say], devices: Sequence[Device]) -> None:
        self.chat = chat
        self.devices = devices
        self._says = says

    async def say(self, parts: dict[str, Any], within: float = 0.0) -> list[Any]:
        """The acknowledgements of TIMES attempts, begun in the next `within` seconds."""
        return await self.say_each([parts] * TIMES, within)

    async def say_each(self, attempts: Sequence[dict[str, Any]], within: float = 0.0) -> list[Any]:
        async def attempt(say: Say, parts: dict[str, Any]) -> Any:
            """Until it is answered: where PostgreSQL stands still some are to come again."""
            await asyncio.sleep(random.uniform(0, within))
            while not (answer := await say(parts))["ok"]:
                if not answer["error"]["retryable"]:
                    break
                await asyncio.sleep(answer["error"].get("retry_after", 0.3))
            return answer

        ways = itertools.cycle(self._says)
        return await asyncio.gather(*map(attempt, ways, attempts))


@pytest_asyncio.fixture(loop_scope="package")
async def transports(site: Site, load: LoadGenerator) -> AsyncIterator[Transports]:
    chat = load.chats[0]
    says, devices = list[Say](), list[Device]()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession())
        js = await stack.enter_async_context(running_node_client())
        for node in site.nodes:
            device = await Device.open(http, node.base_url, chat.landlord)
            stack.push_async_callback(device.close)
            poll = await js.connected(node.base_url, chat.landlord, transports=["polling"])
            says += [
                over_rest(Rest(http, node.base_url), chat),
                over_socket(device, chat),
                over_socket(poll, chat),
            ]
            devices.append(device)
        yield Transports(chat, says, devices)


async def send(load: LoadGenerator, transports: Transports, within: float = 0.0) -> Send:
    """A new message, sent TIMES times: stored by one attempt, and every answer the same."""
    begun = Send(transports.chat)
    load.sends.append(begun)
    answers = await transports.say(begun.parts, within)
    begun.acknowledge(answers[0])
    assert [answer["duplicate"] for answer in answers].count(False) == 1
    assert {identity(answer) for answer in answers} == {(begun.id, begun.seq)}
    return begun


def identity(answer: Any) -> tuple[str, int]:
    return answer["message"]["id"], answer["message"]["seq"]


async def end_the_month(database_url: str, after: timedelta) -> datetime:
    """Have the partition of this month end so soon, and another one follow: when that is."""
    now = datetime.now(UTC)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (start + timedelta(days=32)).replace(day=1)
    month, end = f"chat.messages_{now:%Y_%m}", now + after
    async with connected(database_url) as connection:
        await connection.execute(f"""
            BEGIN;
            ALTER TABLE chat.messages DETACH PARTITION {month};
            ALTER TABLE chat.messages ATTACH PARTITION {month}
                FOR VALUES FROM ('{start}') TO ('{end}');
            CREATE TABLE chat.messages_following PARTITION OF chat.messages
                FOR VALUES FROM ('{end}') TO ('{following}');
            COMMIT
        """)
    return end


async def places(database_url: str, sent: Sequence[Send]) -> list[str]:
    """The partition in which each lies."""
    query = "SELECT tableoid::regclass::text FROM chat.messages WHERE id = $1"
    async with connected(database_url) as connection:
        return [str(await connection.fetchval(query, each.id)) for each in sent]


async def test_the_same_send_fifty_times_at_once_is_one_message(
    site: Site, load: LoadGenerator, transports: Transports
) -> None:
    with load.window() as window:
        before = await send(load, transports)
        end = await end_the_month(site.database_url, timedelta(seconds=4))
        sent = [before]
        while datetime.now(UTC) < end - timedelta(seconds=0.5):
            sent.append(await send(load, transports))
        sent.append(await send(load, transports, within=1.0))  # some before the end, some after
        sent.append(await send(load, transports))
        again = await transports.say(before.parts)
    assert {identity(answer) for answer in again} == {(before.id, before.seq)}
    assert all(answer["duplicate"] for answer in again)
    await load.settle()
    found = await places(site.database_url, sent)
    assert found[0] == f"chat.messages_{end:%Y_%m}"
    assert found[-1] == "chat.messages_following"
    sends = load.overlapping(window)
    record(
        9,
        "the same send 50 times at once, over every transport of three nodes, across a month's end",
        sends,
        Figure("such sends", len(sent), unit=""),
        Figure("copies that a device heard", most_heard(transports, sent), 1, unit=""),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )


def most_heard(transports: Transports, sent: Sequence[Send]) -> int:
    """How often a device heard of any of these, at most."""
    heard = [[message["id"] for message in device.of("message")] for device in transports.devices]
    return max(ids.count(each.id) for ids in heard for each in sent)


async def test_another_body_for_the_same_send_is_a_conflict(
    load: LoadGenerator, transports: Transports
) -> None:
    """Whichever of two bodies comes first is stored; the other is refused by every transport."""
    conflicts = list[Any]()
    with load.window() as window:
        for _ in range(ROUNDS):
            await asyncio.sleep(0.1)
            begun = Send(transports.chat)
            load.sends.append(begun)
            bodies = [begun.parts, {**begun.parts, "content": "another"}] * (TIMES // 2)
            answers = await transports.say_each(bodies)
            stored = [answer for answer in answers if answer["ok"]]
            begun.acknowledge(stored[0])
            assert [answer["duplicate"] for answer in stored].count(False) == 1
            assert {identity(answer) for answer in stored} == {(begun.id, begun.seq)}
            assert len({answer["message"]["content"] for answer in stored}) == 1
            conflicts += [answer["error"] for answer in answers if not answer["ok"]]
    await load.settle()
    assert {error["code"] for error in conflicts} == {"idempotency_conflict"}
    assert {error["status"] for error in conflicts if "status" in error} == {409}
    sends = load.overlapping(window)
    record(
        9,
        "the same with another body for half of them",
        sends,
        Figure("attempts refused as conflicts", len(conflicts), unit=""),
        Figure("p99 of the acknowledgement", p99(sends)),
    )
    assert len(conflicts) == ROUNDS * TIMES // 2
