"""What sync reads: the marks of a snapshot, and only the rows that it has to."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from chatserver.repositories import sync
from chatserver.repositories.sync import Held, Mark, Snapshot
from tests.kit.devices import TAKE_XID, held_open
from tests.kit.reads import Reads
from tests.kit.services import Chat, Node, connected

NEVER = Mark(0)


async def changed(
    node: Node, chat: Chat, since: Mark | None, limit: int = 10
) -> tuple[Snapshot, Sequence[UUID], int]:
    async with node.database.transaction() as connection:
        snapshot = await sync.get_snapshot(connection)
        found = await sync.list_changed(
            connection, chat.owner.user_id, snapshot, since=since, limit=limit
        )
    return snapshot, found.ids, found.newest


async def test_a_snapshot_names_the_transactions_that_are_open(
    node: Node, database_url: str
) -> None:
    async with node.database.transaction() as connection:
        before = await sync.get_snapshot(connection)
    async with held_open(database_url) as first, held_open(database_url) as second:
        xids = (await first.fetchval(TAKE_XID), await second.fetchval(TAKE_XID))
        await node.sql(TAKE_XID)
        async with node.database.transaction() as connection:
            snapshot = await sync.get_snapshot(connection)
    assert set(xids) <= set(snapshot.in_progress)
    assert snapshot.xmax > xids[1] >= before.xmax
    assert snapshot.database == before.database
    assert not snapshot.is_standby


async def test_no_message_moves_into_another_partition_between_a_snapshot_and_its_end(
    node: Node, database_url: str
) -> None:
    making = "SELECT chat.ensure_message_partitions(4)"
    async with connected(database_url) as maker:
        async with node.database.transaction() as connection:
            await sync.get_snapshot(connection)
            with pytest.raises(asyncpg.LockNotAvailableError):
                await maker.execute(making)
        assert await maker.fetchval(making) == 1


async def test_the_newest_change_is_the_callers_own(node: Node) -> None:
    chat = await node.add_chat()
    snapshot, ids, newest = await changed(node, chat, None)
    stranger = await node.add_chat()
    await node.send(stranger.client, stranger)
    assert ids == [chat.id]
    assert newest < snapshot.xmax
    assert (await changed(node, chat, Mark(newest)))[1:] == ([], newest)
    assert (await changed(node, chat, Mark(newest - 1)))[1:] == ([chat.id], newest)
    assert (await changed(node, chat, Mark(newest + 5, (newest,))))[1:] == ([chat.id], newest)


async def test_a_user_without_conversations_has_no_newest_change(node: Node) -> None:
    stranger = await node.add_user()
    chat = Chat(UUID(int=0), stranger, stranger, UUID(int=0))
    assert (await changed(node, chat, None))[1:] == ([], 0)


async def test_the_version_of_the_counters_is_that_of_the_snapshot(node: Node) -> None:
    chat = await node.add_chat()
    bulkhead = node.database.bulkhead(1, 1.0, **sync.SNAPSHOT_OPTIONS)
    versions = []
    for _ in range(2):
        async with bulkhead.transaction() as connection:
            snapshot = await sync.get_snapshot(connection)
            await node.send(chat.client, chat)
            found = await sync.list_changed(
                connection, chat.owner.user_id, snapshot, since=None, limit=1
            )
        versions.append(found.unread_version)
    assert versions == [0, 1]


async def test_looking_for_changes_reads_no_message_and_no_foreign_conversation(
    own_node: Node,
) -> None:
    chat = await own_node.add_chat()
    for _ in range(20):
        stranger = await own_node.add_chat()
        await own_node.send(stranger.client, stranger)
    async with own_node.database.transaction() as connection:
        snapshot = await sync.get_snapshot(connection)
        async with Reads(connection) as reads:
            await sync.list_changed(connection, chat.owner.user_id, snapshot, since=NEVER, limit=10)
    assert reads.rows == {"conversations": 1, "unread_totals": 1}
    assert reads.tables == {"conversations", "participants", "unread_totals"}


async def test_looking_for_changed_messages_reads_only_these(node: Node) -> None:
    chat = await node.add_chat()
    messages = [await node.send(chat.client, chat) for _ in range(30)]
    await node.messages.edit(chat.client, messages[3].id, "edited")
    await node.send(chat.client, chat)
    view = await node.view(chat.owner, chat)
    assert view.last_message_at is not None
    held = Held(chat.id, 30, 30, (view.created_at, view.last_message_at))
    async with node.database.transaction() as connection, Reads(connection) as reads:
        changes = await sync.list_changes(connection, [held], max_bytes=10_000)
    assert [message.seq for message in changes[chat.id].messages] == [4, 31]
    month = f"messages_{view.created_at:%Y_%m}"
    assert reads.rows == {month: 2, "message_edits": 1, "participants": 4}
    assert reads.tables == {month, "message_edits", "participants", "receipts"}


async def test_sizes_are_summed_up_over_all_conversations(node: Node) -> None:
    chats = [await node.add_chat() for _ in range(3)]
    helds = []
    for chat in chats:
        for _ in range(2):
            await node.send(chat.client, chat, "x" * 1000)
        view = await node.view(chat.owner, chat)
        assert view.last_message_at is not None
        helds.append(Held(chat.id, 0, 0, (view.created_at, view.last_message_at)))
    async with node.database.transaction() as connection:
        changes = await sync.list_changes(connection, helds, max_bytes=3 * 3000)
    found = [
        ([m.seq for m in changes[one.id].messages], changes[one.id].is_limited) for one in chats
    ]
    assert found == [([1, 2], False), ([2], True), ([], True)]
