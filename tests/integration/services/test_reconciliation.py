"""Reconciliation: after a gap, `head` for exactly what changed and concerns somebody here."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from chatserver.errors import Unavailable
from chatserver.events import HeadMoved, UnreadChanged
from chatserver.services import reconciliation
from chatserver.services.reconciliation import ReconciliationService
from tests.kit.services import Node, connected, running_node


@dataclass
class Hearing:
    """How it is with Redis, as the test says."""

    node_id: UUID = field(default_factory=uuid4)
    is_receiving: bool = True
    seconds_partitioned: float = 0.0


@dataclass
class Reconciled:
    """A node, its reconciliation, and who is connected to it."""

    node: Node
    hearing: Hearing
    users: set[UUID]
    service: ReconciliationService

    def heads(self) -> list[HeadMoved]:
        found = self.node.publisher.of(HeadMoved)
        self.node.publisher.clear()
        return found


def reconciled(node: Node) -> Reconciled:
    hearing, users = Hearing(), set[UUID]()
    service = ReconciliationService(node.database, node.publisher, hearing, lambda: users)
    return Reconciled(node, hearing, users, service)


@pytest.fixture
async def here(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reconciled]:
    monkeypatch.setattr(reconciliation, "LAG", 0.0)
    monkeypatch.setattr(reconciliation, "LINGER", -1.0)
    async with running_node(database_url) as node:
        yield reconciled(node)


async def test_without_a_gap_nothing_is_told(here: Reconciled) -> None:
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    await here.node.send(chat.client, chat)
    here.heads()
    await here.service.tick()
    assert here.heads() == []


async def test_what_changed_since_the_gap_is_told_to_those_who_are_here(here: Reconciled) -> None:
    before, chat, elsewhere = [await here.node.add_chat() for _ in range(3)]
    here.users |= {before.owner.user_id, chat.owner.user_id}
    await here.node.send(before.client, before)
    await here.service.tick()
    since = time.monotonic()
    await here.node.send(chat.client, chat)
    await here.node.send(chat.client, chat)
    await here.node.send(elsewhere.client, elsewhere)
    here.service.require(since)
    here.heads()
    await here.service.tick()
    view = await here.node.view(chat.owner, chat)
    assert here.heads() == [HeadMoved(chat.id, 2, view.rev, (chat.owner.user_id,), is_local=True)]
    await here.service.tick()
    assert here.heads() == [], "the gap is over"


async def test_the_counters_of_those_who_are_here_are_told_too(here: Reconciled) -> None:
    """A node may have died between the two events of a message."""
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    since = time.monotonic()
    await here.node.send(chat.client, chat)
    await here.node.send(chat.owner, chat)
    (told, _) = here.node.publisher.of(UnreadChanged)
    assert told.user_id == chat.owner.user_id
    here.node.publisher.clear()
    here.service.require(since)
    await here.service.tick()
    assert here.node.publisher.of(UnreadChanged) == [replace(told, is_local=True)]


async def test_both_are_told_where_both_are_here(here: Reconciled) -> None:
    chat = await here.node.add_chat()
    here.users |= {person.user_id for person in chat.people}
    await here.service.tick()
    here.service.require(time.monotonic())
    await here.node.send(chat.client, chat)
    here.heads()
    await here.service.tick()
    (head,) = here.heads()
    assert set(head.member_ids) == here.users


async def test_a_change_that_was_committed_a_moment_before_the_gap_counts(
    here: Reconciled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be published only afterwards."""
    now = 1000.0
    monkeypatch.setattr(reconciliation, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(reconciliation, "LAG", 6.0)
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    now += 7
    await here.node.send(chat.client, chat)
    await here.service.tick()
    here.heads()
    here.service.require(now)
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [chat.id]


async def test_a_transaction_that_was_open_at_the_gap_is_found_when_it_ends(
    here: Reconciled, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LINGER", 60.0)
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    async with connected(database_url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "UPDATE chat.conversations SET rev = rev + 1, changed_xid = pg_current_xact_id()"
            " WHERE id = $1", chat.id,
        )  # fmt: skip
        await here.service.tick()
        here.heads()
        here.service.require(time.monotonic())
        await here.service.tick()
        assert here.heads() == []
        await transaction.commit()
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [chat.id]


async def test_while_the_gap_lasts_each_change_is_told_once(
    here: Reconciled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LINGER", 60.0)
    first, second = [await here.node.add_chat() for _ in range(2)]
    here.users |= {first.owner.user_id, second.owner.user_id}
    await here.service.tick()
    here.service.require(time.monotonic())
    await here.node.send(first.client, first)
    here.heads()
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [first.id]
    await here.node.send(second.client, second)
    here.heads()
    here.service.require(time.monotonic())
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [second.id]


async def test_a_gap_from_further_back_begins_again_there(
    here: Reconciled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LINGER", 60.0)
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    early = time.monotonic()
    await here.node.send(chat.client, chat)
    await here.service.tick()
    here.service.require(time.monotonic())
    await here.service.tick()
    here.heads()
    here.service.require(early)
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [chat.id]


async def test_a_gap_outlives_a_reconciliation_that_failed(
    here: Reconciled, database_url: str
) -> None:
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    here.service.require(time.monotonic())
    await here.node.send(chat.client, chat)
    here.heads()
    async with connected(database_url) as host, host.transaction():
        await host.execute("LOCK TABLE chat.conversations IN ACCESS EXCLUSIVE MODE")
        with pytest.raises((Unavailable, TimeoutError)):
            async with asyncio.timeout(0.5):
                await here.service.tick()
    await here.service.tick()
    assert [head.conversation_id for head in here.heads()] == [chat.id]


async def test_many_users_are_reconciled_in_parts(
    here: Reconciled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "_USERS", 2)
    chats = [await here.node.add_chat() for _ in range(5)]
    here.users |= {chat.owner.user_id for chat in chats}
    await here.service.tick()
    here.service.require(time.monotonic())
    for chat in chats:
        await here.node.send(chat.client, chat)
    here.heads()
    await here.service.tick()
    assert {head.conversation_id for head in here.heads()} == {chat.id for chat in chats}


async def test_a_node_that_is_cut_off_says_so_and_the_others_reconcile_until_it_is_back(
    here: Reconciled,
) -> None:
    other = reconciled(here.node)
    chat = await here.node.add_chat()
    other.users.add(chat.owner.user_id)
    await here.service.tick()
    await other.service.tick()
    here.hearing.is_receiving, here.hearing.seconds_partitioned = False, 3.0
    await here.service.tick()
    await here.node.send(chat.client, chat)
    here.heads()
    await other.service.tick()
    assert [head.conversation_id for head in other.heads()] == [chat.id]
    await here.node.send(chat.client, chat)
    here.heads()
    await other.service.tick()
    assert [head.last_seq for head in other.heads()] == [2]

    here.hearing.is_receiving, here.hearing.seconds_partitioned = True, 0.0
    await here.service.tick()
    await other.service.tick()
    await here.node.send(chat.client, chat)
    here.heads()
    await other.service.tick()
    assert other.heads() == []


async def test_a_blink_is_not_told_to_others(here: Reconciled) -> None:
    other = reconciled(here.node)
    here.hearing.is_receiving, here.hearing.seconds_partitioned = False, 0.5
    await here.service.tick()
    assert await here.node.value("SELECT count(*) FROM chat.cut_off_nodes") == 0
    await other.service.tick()


async def test_a_node_that_died_while_it_was_cut_off_is_forgotten(here: Reconciled) -> None:
    await here.node.sql(
        "INSERT INTO chat.cut_off_nodes VALUES (gen_random_uuid(), now() - interval '7 seconds')"
    )
    chat = await here.node.add_chat()
    here.users.add(chat.owner.user_id)
    await here.service.tick()
    await here.node.send(chat.client, chat)
    here.heads()
    await here.service.tick()
    assert here.heads() == []


async def test_after_a_crash_of_the_database_no_mark_is_ahead_of_it(here: Reconciled) -> None:
    """PostgreSQL may give numbers out again that an earlier snapshot had counted as ended."""
    for value in (100, 105, 90, 95):
        here.service._note(reconciliation._Mark(time.monotonic(), value))
    assert [mark.value for mark in here.service._marks] == [90, 90, 90, 95]
