"""What sync reads: the marks of a snapshot, and only the rows that it has to."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.repositories import sync
from chatserver.repositories.sync import Held, Mark, Snapshot
from tests.kit.devices import TAKE_XID, held_open
from tests.kit.services import Chat, Node, running_node

NEVER = Mark(0)


@pytest.fixture
async def node(database_url: str) -> AsyncIterator[Node]:
    async with running_node(database_url) as node:
        yield node


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


class Reads:
    """What the statements in the block read, by index alone.

    `rows`: how many of each table; `tables`: those that were looked at, even in vain.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.rows: Counter[str] = Counter()
        self._scans: Counter[str] = Counter()

    @property
    def tables(self) -> set[str]:
        return set(+self._scans)

    async def __aenter__(self) -> "Reads":
        for kind in ("seqscan", "sort"):
            await self.connection.execute(text(f"SET LOCAL enable_{kind} = off"))
        for name, rows, scans in await self._count():
            self.rows[name] -= rows
            self._scans[name] -= scans
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, rows, scans in await self._count():
            self.rows[name] += rows
            self._scans[name] += scans
        self.rows = +self.rows

    async def _count(self) -> Sequence[Any]:
        """Of this transaction and those before it that are not reported yet."""
        return (await self.connection.execute(_READ)).all()


_READ = text("""
    SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0),
           coalesce(seq_scan, 0) + coalesce(idx_scan, 0)
    FROM pg_stat_xact_user_tables
""")


async def test_looking_for_changes_reads_no_message_and_no_foreign_conversation(
    node: Node,
) -> None:
    chat = await node.add_chat()
    for _ in range(20):
        stranger = await node.add_chat()
        await node.send(stranger.client, stranger)
    async with node.database.transaction() as connection:
        snapshot = await sync.get_snapshot(connection)
        async with Reads(connection) as reads:
            await sync.list_changed(connection, chat.owner.user_id, snapshot, since=NEVER, limit=10)
    assert reads.rows == {"conversations": 1}
    assert reads.tables == {"conversations"}


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
