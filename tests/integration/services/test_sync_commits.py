"""Sync never skips a change, in whatever order transactions commit."""

import random
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pytest

from tests.kit.devices import CHANGE, TAKE_XID, Device, device_of, held_open, sync_service
from tests.kit.postgres import Databases
from tests.kit.services import Chat, Node, connected, running_node


@pytest.fixture
async def chats(node: Node) -> list[Chat]:
    """Three conversations of one owner."""
    first = await node.add_chat()
    return [first, *[await node.add_chat(owner=first.owner) for _ in range(2)]]


async def true_revs(node: Node, chats: list[Chat]) -> dict[UUID, int]:
    rows = await node.sql("SELECT id, rev FROM chat.conversations")
    return {row.id: row.rev for row in rows if row.id in {chat.id for chat in chats}}


# The order of commits


async def test_a_change_that_commits_after_a_later_one_was_synced_is_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    first, second, _ = chats
    device = await device_of(node, chats[0].owner)
    async with held_open(database_url) as slow:
        await slow.execute(CHANGE, first.id)
        await node.send(second.client, second)
        assert await device.sync() == [second.id]
        await slow.execute("COMMIT")
    assert await device.sync() == [first.id]
    assert await device.sync() == []


async def test_a_transaction_that_was_numbered_long_before_its_change_is_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    first, second, _ = chats
    device = await device_of(node, chats[0].owner)
    async with held_open(database_url, TAKE_XID) as slow:
        await node.send(second.client, second)
        assert await device.sync() == [second.id]
        await slow.execute(CHANGE, first.id)
        await slow.execute("COMMIT")
    assert await device.sync() == [first.id]


async def test_a_conversation_whose_stamp_goes_back_is_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    chat = chats[0]
    device = await device_of(node, chats[0].owner)
    async with held_open(database_url, TAKE_XID) as slow:
        await node.send(chat.client, chat)
        assert await device.sync() == [chat.id]
        await slow.execute(CHANGE, chat.id)
        await slow.execute("COMMIT")
    assert await device.sync() == [chat.id]
    assert device.known[chat.id].rev == 2


async def test_what_is_rolled_back_is_not_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    device = await device_of(node, chats[0].owner)
    async with held_open(database_url) as slow:
        await slow.execute(CHANGE, chats[0].id)
        await slow.execute("ROLLBACK")
    assert await device.sync() == []


async def test_a_change_in_a_savepoint_is_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    first, second, _ = chats
    device = await device_of(node, chats[0].owner)
    async with held_open(database_url, TAKE_XID, "SAVEPOINT one") as slow:
        await slow.execute(CHANGE, first.id)
        await node.send(second.client, second)
        assert await device.sync() == [second.id]
        await slow.execute("COMMIT")
    assert await device.sync() == [first.id]


async def test_a_transaction_that_stays_open_elsewhere_makes_nothing_repeat(
    node: Node, chats: list[Chat], databases: Databases
) -> None:
    device = await device_of(node, chats[0].owner)
    async with databases.empty() as elsewhere, held_open(elsewhere, TAKE_XID):
        for chat in chats:
            await node.send(chat.client, chat)
            assert await device.sync() == [chat.id]
        assert await device.sync() == []


async def test_very_many_open_transactions_make_changes_repeat_but_skip_none(
    node: Node, chats: list[Chat], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.repositories.sync.MAX_PENDING", 2)
    first, second, third = chats
    device = await device_of(node, chats[0].owner)
    async with AsyncExitStack() as stack:
        open_ones = [
            await stack.enter_async_context(held_open(database_url, TAKE_XID)) for _ in range(3)
        ]
        await node.send(second.client, second)
        assert await device.sync() == [second.id]
        assert await device.sync() == [second.id]
        await open_ones[0].execute(CHANGE, first.id)
        await open_ones[2].execute(CHANGE, third.id)
        for connection in open_ones:
            await connection.execute("COMMIT")
    assert {first.id, third.id} <= set(await device.sync())
    assert await device.sync() == []


async def test_a_commit_between_two_pages_behind_the_walk_is_told(
    node: Node, chats: list[Chat], database_url: str
) -> None:
    for chat in chats:
        await node.send(chat.client, chat)
    device = Device(await sync_service(node), chats[0].owner, limit=1)
    async with held_open(database_url) as slow:
        await slow.execute(CHANGE, chats[2].id)
        answer = await device.page()
        assert [one.conversation.id for one in answer.conversations] == [chats[2].id]
        await slow.execute("COMMIT")
    assert await device.sync() == [chats[1].id, chats[0].id, chats[2].id]
    assert device.revs == await true_revs(node, chats)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_commits_in_whatever_order_a_device_ends_up_right(
    node: Node, chats: list[Chat], database_url: str, seed: int
) -> None:
    """After the last page of each sync the device knows exactly what was committed before
    that page; pages are of random sizes, and everything happens between them too.
    """
    rng = random.Random(seed)
    chats += [await node.add_chat(owner=chats[0].owner) for _ in range(4)]
    device = Device(await sync_service(node), chats[0].owner)
    async with AsyncExitStack() as stack:
        writers = [
            Writer(await stack.enter_async_context(connected(database_url)), rng) for _ in range(4)
        ]
        for _ in range(150):
            writer = rng.choice(writers)
            await writer.step([chat.id for chat in chats], taken_by(writers, but=writer))
            if rng.random() < 0.4:
                device.limit = rng.randint(1, 4)
                answer = await device.page()
                if not answer.has_more:
                    assert device.revs == await true_revs(node, chats)
        for writer in writers:
            await writer.end()
    await device.sync()
    assert device.revs == await true_revs(node, chats)
    assert await device.sync() == []


class Writer:
    """Runs one transaction after the other, a random step at a time."""

    def __init__(self, connection: asyncpg.Connection, rng: random.Random) -> None:
        self.connection = connection
        self.rng = rng
        self.is_open = False
        self.taken: set[UUID] = set()

    async def step(self, ids: list[UUID], locked: set[UUID]) -> None:
        if not self.is_open:
            await self.connection.execute("BEGIN")
            self.is_open = True
            if self.rng.random() < 0.5:
                await self.connection.execute(TAKE_XID)
        elif self.rng.random() < 0.4:
            await self.end()
        elif free := [one for one in ids if one not in locked]:
            chosen = self.rng.choice(free)
            self.taken.add(chosen)
            await self.connection.execute(CHANGE, chosen)

    async def end(self) -> None:
        if self.is_open:
            await self.connection.execute("COMMIT" if self.rng.random() < 0.8 else "ROLLBACK")
        self.is_open = False
        self.taken.clear()


def taken_by(writers: list[Writer], but: Writer) -> set[UUID]:
    """What the other transactions have locked."""
    return set().union(*(writer.taken for writer in writers if writer is not but))


# Other databases


async def test_a_copy_of_the_database_in_the_same_cluster_resets(
    node: Node, chats: list[Chat], database_url: str, databases: Databases
) -> None:
    device = await device_of(node, chats[0].owner)
    await node.close()
    original, copy = database_url.split("?")[0].rsplit("/")[-1], "copy_of_chats"
    await databases.server.create_database(copy, original)
    try:
        async with running_node(databases.server.url(copy)) as other:
            device.service = await sync_service(other)
            answer = await device.page()
            assert answer.reset
            assert len(answer.conversations) == len(chats)
            assert await device.sync() == []
    finally:
        await databases.server.drop_database(copy)
