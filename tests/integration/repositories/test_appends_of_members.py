"""Appending while members come and go: whoever is in the locked row sends and gets, nobody else."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from chatserver.events import MessageSent
from chatserver.models import MemberRole, MessageType, Principal, Role
from chatserver.repositories import conversations, members
from chatserver.repositories.appends import (
    NewMessage,
    Outcome,
    append_messages,
    append_under_locks,
)
from chatserver.repositories.conversations import Membership
from chatserver.services.messages import Draft
from chatserver.services.writer import CONNECTION_SETTINGS
from tests.kit.postgres import Databases
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, principal, running_node
from tests.kit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = principal(uuid4(), Role.SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(databases: Databases) -> AsyncIterator[tuple[Node, str]]:
    with pytest.MonkeyPatch.context() as patch:
        # A machine that stands still for a moment is no lock.
        patch.setitem(CONNECTION_SETTINGS, "lock_timeout", "30s")
        async with databases.migrated() as url, running_node(url) as node:
            yield node, url


@pytest_asyncio.fixture(loop_scope="module")
async def node(world: tuple[Node, str]) -> AsyncIterator[Node]:
    node, _ = world
    node.publisher.clear()
    yield node
    assert await find_faults(node.database) == {}


@pytest_asyncio.fixture(loop_scope="module")
async def connection(world: tuple[Node, str]) -> AsyncIterator[asyncpg.Connection]:
    async with connected(world[1], plan_cache_mode="force_generic_plan") as connection:
        yield connection


@pytest_asyncio.fixture(loop_scope="module")
async def chat(node: Node) -> Chat:
    return await node.add_chat()


def new(chat: Chat, sender: Principal) -> NewMessage:
    return NewMessage(
        id=uuid7(),
        conversation_id=chat.id,
        sender_id=sender.user_id,
        voice=None,
        message_type=MessageType.TEXT,
        content="hello",
        media_url=None,
        reply_to_seq=None,
        client_msg_id=None,
        digest=b"a" * 16,
    )


async def add(node: Node, chat: Chat, role: MemberRole = MemberRole.AGENT) -> Principal:
    person = await node.add_user()
    await node.members.put(HOST, chat.id, person.user_id, role)
    return person


Change = Callable[[AsyncConnection, Membership], Awaitable[object]]


def adding(person: Principal) -> Change:
    async def change(connection: AsyncConnection, membership: Membership) -> object:
        at, role = await conversations.now(connection), MemberRole.AGENT
        after, _ = await members.add(connection, membership, person.user_id, role, at=at)
        return await log(connection, after, conversations.Change.ADDED, person.user_id)

    return change


def removing(person: Principal) -> Change:
    async def change(connection: AsyncConnection, membership: Membership) -> object:
        at = await conversations.now(connection)
        after, _ = await members.remove(connection, membership, person.user_id, at=at)
        return await log(connection, after, conversations.Change.REMOVED, person.user_id)

    return change


async def log(
    connection: AsyncConnection, after: Membership, kind: conversations.Change, user_id: UUID
) -> Membership:
    at = await conversations.now(connection)
    await conversations.log_change(
        connection, after.id, kind, rev=after.rev, at=at, by_user_id=user_id, user_id=user_id
    )
    return after


@asynccontextmanager
async def waiting(
    node: Node, chat: Chat, change: Change, task: Callable[[], Awaitable[object]]
) -> AsyncIterator["asyncio.Future[object]"]:
    """`task` has begun, and waits for a transaction that makes the change until the block ends."""
    async with node.database.transaction() as holder:
        membership = await conversations.lock(holder, chat.id)
        assert membership is not None
        before = await waiters(node)
        running = asyncio.ensure_future(task())
        async with asyncio.timeout(30):
            while await waiters(node) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await change(holder, membership)
        yield running


async def waiters(node: Node) -> int:
    count: int = await node.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count


async def test_twenty_get_a_message_and_the_observers_no_counter(
    node: Node, chat: Chat, connection: asyncpg.Connection
) -> None:
    agents = [await add(node, chat) for _ in range(16)]
    observers = [await add(node, chat, MemberRole.OBSERVER) for _ in range(2)]
    batch = [new(chat, agents[0]), new(chat, chat.client), new(chat, observers[0])]
    first, second, refused = await append_messages(connection, batch)
    assert (first.outcome, second.outcome) == (Outcome.STORED, Outcome.STORED)
    assert refused.outcome is Outcome.OBSERVER
    everybody = [*chat.people, *agents, *observers]
    assert first.member_ids == second.member_ids == tuple(each.user_id for each in everybody)
    counted = {each.user_id: each.unread_count for each in second.unread}
    assert counted == {
        chat.client.user_id: 1,
        chat.owner.user_id: 2,
        agents[0].user_id: 1,
        **{agent.user_id: 2 for agent in agents[1:]},
    }


async def test_a_message_that_waited_for_an_adding_is_stale_and_then_reaches_who_was_added(
    node: Node, chat: Chat, connection: asyncpg.Connection
) -> None:
    other, agent = await node.add_chat(), await node.add_user()
    batch = [new(chat, chat.client), new(other, other.client), new(chat, chat.client)]

    def append() -> Awaitable[object]:
        return append_messages(connection, batch)

    async with waiting(node, chat, adding(agent), append) as task:
        pass
    appended = await task
    assert isinstance(appended, list)
    assert [each.outcome for each in appended] == [Outcome.STALE, Outcome.STORED, Outcome.STALE]
    again = await append_under_locks(connection, [batch[0], batch[2]])
    assert [each.outcome for each in again] == [Outcome.STORED] * 2
    assert {each.user_id for each in again[1].unread} == {chat.owner.user_id, agent.user_id}
    assert (await node.view(agent, chat)).unread_count == 2


async def test_the_writer_sends_what_was_stale_again(node: Node, chat: Chat) -> None:
    agent, bystander = await node.add_user(), await node.add_chat()

    def send() -> Awaitable[object]:
        return asyncio.gather(
            node.messages.send(chat.client, chat.id, Draft("first")),
            node.send(bystander.client, bystander),
            node.messages.send(chat.client, chat.id, Draft("second")),
        )

    async with waiting(node, chat, adding(agent), send) as task:
        pass
    await task
    await eventually(lambda: len(node.publisher.of(MessageSent)) == 3)
    found = node.publisher.of(MessageSent, lambda event: event.message.conversation_id == chat.id)
    assert [event.message.content for event in found] == ["first", "second"]
    assert all(agent.user_id in event.member_ids for event in found)
    assert (await node.view(agent, chat)).unread_count == 2


async def test_a_message_that_waited_for_a_removal_does_not_reach_who_was_removed(
    node: Node, chat: Chat
) -> None:
    agent = await add(node, chat)

    def send() -> Awaitable[object]:
        return node.send(chat.client, chat)

    async with waiting(node, chat, removing(agent), send) as task:
        pass
    await task
    await eventually(lambda: bool(node.publisher.of(MessageSent)))
    (event,) = node.publisher.of(MessageSent)
    assert event.member_ids == tuple(each.user_id for each in chat.people)


async def test_who_was_removed_while_their_message_waited_has_not_sent_it(
    node: Node, chat: Chat
) -> None:
    agent = await add(node, chat)

    def send() -> Awaitable[object]:
        return node.messages.send(agent, chat.id, Draft("too late"))

    async with waiting(node, chat, removing(agent), send) as task:
        pass
    with pytest.raises(Exception, match="No such thing"):
        await task
    assert (await node.view(chat.client, chat)).last_seq == 0


async def test_who_was_added_while_their_message_waited_has_sent_it(node: Node, chat: Chat) -> None:
    agent = await node.add_user()

    def send() -> Awaitable[object]:
        return node.messages.send(agent, chat.id, Draft("just in time"))

    async with waiting(node, chat, adding(agent), send) as task:
        pass
    await task
    assert [each.sender_id for each in await node.all_messages(chat.client, chat)] == [
        agent.user_id
    ]


async def test_a_list_from_a_dump_of_another_database_is_not_stale_for_ever(
    node: Node, chat: Chat, connection: asyncpg.Connection
) -> None:
    await node.sql(
        "UPDATE chat.conversations SET members_xid = '4000000000000' WHERE id = :id", id=chat.id
    )
    (appended,) = await append_messages(connection, [new(chat, chat.client)])
    assert appended.outcome is Outcome.STORED


async def test_whoever_comes_and_goes_at_once_the_counters_equal_a_recount(node: Node) -> None:
    """What is stored is told to exactly those who were in it by then."""
    chance = random.Random(7)
    chats = [await node.add_chat() for _ in range(3)]
    people = [await node.add_user() for _ in range(4)]

    async def come_and_go(person: Principal) -> None:
        for _ in range(12):
            chat = chance.choice(chats)
            await node.members.put(HOST, chat.id, person.user_id, MemberRole.AGENT)
            await asyncio.sleep(chance.random() / 100)
            await node.members.remove(person, chat.id, person.user_id)

    async def write(chat: Chat) -> None:
        for number in range(40):
            await node.send(chance.choice(chat.people), chat, str(number))
            if number % 10 == 0:
                await node.receipts.mark_read(chat.owner, chat.id, number)

    await asyncio.gather(*map(come_and_go, people), *map(write, chats))
    for chat in chats:
        rows = await node.sql(
            "SELECT user_id, kind, rev FROM chat.conversation_changes"
            " WHERE conversation_id = :id ORDER BY rev",
            id=chat.id,
        )
        for event in node.publisher.of(MessageSent):
            if event.message.conversation_id != chat.id:
                continue
            inside = {each.user_id for each in chat.people}
            for row in rows:
                if row.rev < event.message.rev:
                    (inside.add if row.kind == "added" else inside.discard)(row.user_id)
            assert set(event.member_ids) == inside
