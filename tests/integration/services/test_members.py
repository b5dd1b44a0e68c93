"""Members: who may add and remove whom, what each of them sees, and what stays of who left."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from chatserver.errors import (
    ChatError,
    Forbidden,
    InvalidPayload,
    NotFound,
    TooManyParticipants,
    Unavailable,
)
from chatserver.events import (
    ConversationChanged,
    MessageSent,
    MessageUpdated,
    ReadReceipt,
    UnreadChanged,
)
from chatserver.models import (
    MAX_MEMBERS,
    Filters,
    MemberRole,
    Principal,
    Role,
    SenderRole,
)
from chatserver.repositories import members as repository
from chatserver.services import members
from chatserver.services.members import MemberService
from chatserver.services.sync import SyncResult, SyncService
from chatserver.services.writer import CONNECTION_SETTINGS
from tests.kit.postgres import Databases
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, principal, running_node
from tests.kit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CO_CLIENT, AGENT, OBSERVER = MemberRole.CO_CLIENT, MemberRole.AGENT, MemberRole.OBSERVER

HOST = principal(uuid4(), Role.SERVICE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(databases: Databases) -> AsyncIterator[Node]:
    with pytest.MonkeyPatch.context() as patch:
        # A machine that stands still for a moment is no lock.
        patch.setitem(CONNECTION_SETTINGS, "lock_timeout", "30s")
        async with databases.migrated() as url, running_node(url) as node:
            yield node


@pytest_asyncio.fixture(loop_scope="module")
async def node(world: Node) -> AsyncIterator[Node]:
    """The one of all these tests, each of which has people of its own."""
    world.publisher.clear()
    yield world
    assert await find_faults(world.database) == {}


@pytest_asyncio.fixture(loop_scope="module")
async def chat(node: Node) -> Chat:
    chat = await node.add_chat()
    node.publisher.clear()
    return chat


async def add(node: Node, chat: Chat, role: MemberRole, name: str = "Third") -> Principal:
    """Somebody new with this role in the conversation."""
    person = await node.add_user(Role.AGENT if role is AGENT else Role.CLIENT, name)
    participant, is_new = await node.members.put(HOST, chat.id, person.user_id, role)
    assert (is_new, participant.role, participant.first_name) == (True, role, name)
    return person


async def synced(node: Node, person: Principal, cursor: str | None = None) -> SyncResult:
    service = SyncService(
        node.database, node.host, node.presence, node.senders, max_answer_bytes=2**20, at_once=2
    )
    return await service.sync(person, cursor=cursor, limit=100, open={})


async def seen_by(node: Node, person: Principal, chat: Chat) -> str:
    """One letter for the status of each message."""
    return "".join(each.status[0] for each in await node.all_messages(person, chat))


# Who may


async def test_people_add_those_of_their_side_and_the_host_everybody(
    node: Node, chat: Chat
) -> None:
    agent = await add(node, chat, AGENT)
    allowed = {
        (chat.client.user_id, CO_CLIENT),
        (chat.owner.user_id, AGENT),
        *((HOST.user_id, role) for role in (CO_CLIENT, AGENT, OBSERVER)),
    }
    done = set()
    for who in (chat.client, chat.owner, agent, HOST):
        for role in (CO_CLIENT, AGENT, OBSERVER):
            other = await node.add_user()
            try:
                await node.members.put(who, chat.id, other.user_id, role)
            except Forbidden:
                continue
            done.add((who.user_id, role))
            # And take out whom they may add.
            await node.members.remove(who, chat.id, other.user_id)
    assert done == allowed
    with pytest.raises(NotFound):
        await node.members.put(await node.add_user(), chat.id, agent.user_id, AGENT)


async def test_where_people_may_not_the_host_alone_adds_and_anybody_leaves(
    node: Node, chat: Chat
) -> None:
    settings = replace(node.settings.members, by_people=False)
    service = MemberService(node.database, node.host, node.viewers, node.publisher, settings)
    agent = await node.add_user()
    with pytest.raises(Forbidden):
        await service.put(chat.owner, chat.id, agent.user_id, AGENT)
    await service.put(HOST, chat.id, agent.user_id, AGENT)
    with pytest.raises(Forbidden):
        await service.remove(chat.owner, chat.id, agent.user_id)
    await service.remove(agent, chat.id, agent.user_id)
    with pytest.raises(NotFound):
        await node.conversations.get(agent, chat.id)


@pytest.mark.parametrize("role", [CO_CLIENT, AGENT, OBSERVER])
async def test_the_client_and_the_owner_stay_what_they_are(
    node: Node, chat: Chat, role: MemberRole
) -> None:
    for person in chat.people:
        with pytest.raises(Forbidden):
            await node.members.put(HOST, chat.id, person.user_id, role)
        for who in (person, HOST):
            with pytest.raises(Forbidden):
                await node.members.remove(who, chat.id, person.user_id)
    assert node.publisher.events == []


async def test_nobody_is_on_both_sides_also_after_leaving(node: Node, chat: Chat) -> None:
    agent, tenant = await add(node, chat, AGENT), await add(node, chat, CO_CLIENT)
    for person, other_side in ((agent, CO_CLIENT), (tenant, AGENT)):
        for _ in range(2):
            with pytest.raises(Forbidden):
                await node.members.put(HOST, chat.id, person.user_id, other_side)
            await node.members.put(HOST, chat.id, person.user_id, OBSERVER)
        await node.members.remove(HOST, chat.id, person.user_id)
        with pytest.raises(Forbidden):
            await node.members.put(HOST, chat.id, person.user_id, other_side)


async def test_who_does_not_exist_is_not_added(node: Node, chat: Chat) -> None:
    with pytest.raises(NotFound):
        await node.members.put(HOST, chat.id, uuid4(), AGENT)
    with pytest.raises(NotFound):
        await node.members.remove(HOST, chat.id, uuid4())


async def test_there_are_twenty_at_most_and_so_many_over_time(
    node: Node, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await add(node, chat, AGENT) for _ in range(MAX_MEMBERS - 2)]
    one_more = await node.add_user()
    with pytest.raises(TooManyParticipants):
        await node.members.put(HOST, chat.id, one_more.user_id, AGENT)
    await node.members.remove(HOST, chat.id, people[0].user_id)
    monkeypatch.setattr(members, "MAX_EVER", MAX_MEMBERS)
    with pytest.raises(TooManyParticipants):
        await node.members.put(HOST, chat.id, one_more.user_id, AGENT)
    # Who was in it may come back.
    await node.members.put(HOST, chat.id, people[0].user_id, AGENT)


async def test_while_an_older_node_is_alive_there_are_two(node: Node, chat: Chat) -> None:
    agent = await node.add_user()
    await node.sql("DELETE FROM chat.promises WHERE name = 'members'")
    try:
        with pytest.raises(Unavailable):
            await node.members.put(HOST, chat.id, agent.user_id, AGENT)
        with pytest.raises(Unavailable):
            await node.members.put_agent(HOST, chat.owner.user_id, agent.user_id)
    finally:
        await node.sql("INSERT INTO chat.promises (name) VALUES ('members')")
    await node.members.put(HOST, chat.id, agent.user_id, AGENT)


# What is told


async def test_each_change_is_told_to_all_as_they_see_it_and_counts_in_rev(
    node: Node, chat: Chat
) -> None:
    agent = await add(node, chat, AGENT, "Carmen")
    (event,) = node.publisher.of(ConversationChanged)
    everybody = [*(each.user_id for each in chat.people), agent.user_id]
    assert set(event.views) == set(everybody)
    for view in event.views.values():
        assert view.rev == 1
        assert [each.user_id for each in view.participants] == everybody
        assert [each.role for each in view.participants] == ["client", "owner", "agent"]
    assert await node.view(agent, chat) == event.views[agent.user_id]
    node.publisher.clear()
    # The same again is no change.
    participant, is_new = await node.members.put(HOST, chat.id, agent.user_id, AGENT)
    assert (participant.user_id, is_new) == (agent.user_id, False)
    assert node.publisher.events == []
    await node.members.remove(chat.owner, chat.id, agent.user_id)
    (event,) = node.publisher.of(ConversationChanged)
    assert set(event.views) == set(everybody)
    assert [each.user_id for each in event.views[agent.user_id].participants] == everybody[:2]
    rows = await node.sql(
        "SELECT rev, kind, user_id, role, by_user_id FROM chat.conversation_changes"
        " WHERE conversation_id = :id ORDER BY rev",
        id=chat.id,
    )
    assert [tuple(row) for row in rows] == [
        (1, "added", agent.user_id, "agent", HOST.user_id),
        (2, "removed", agent.user_id, "agent", chat.owner.user_id),
    ]


async def test_a_conversation_that_the_owner_was_not_told_of_is_not_told_to_their_agents(
    node: Node,
) -> None:
    client, owner = await node.add_user(), await node.add_user(Role.OWNER)
    view, _ = await node.conversations.open(client, await node.add_listing(owner))
    chat = Chat(view.id, client, owner, view.listing_id or uuid4())
    node.publisher.clear()
    tenant = await add(node, chat, CO_CLIENT)
    agent = await node.add_user()
    await node.members.put(owner, chat.id, agent.user_id, AGENT)
    for event in node.publisher.of(ConversationChanged):
        assert event.views.keys() <= {client.user_id, tenant.user_id}
    for person, count in ((client, 1), (tenant, 1), (owner, 0), (agent, 0)):
        page = await node.conversations.list(person, limit=5)
        assert len(page.conversations) == count
        assert len((await synced(node, person)).conversations) == count
    node.publisher.clear()
    message = await node.send(tenant, chat)
    await eventually(lambda: len(node.publisher.of(UnreadChanged)) == 3)
    introduced, sent, *_ = node.publisher.events
    assert isinstance(introduced, ConversationChanged)
    assert isinstance(sent, MessageSent)
    assert set(introduced.views) == {owner.user_id, agent.user_id}
    # What is told next counts on from there, although two were added before.
    assert {each.rev for each in introduced.views.values()} == {message.rev - 1} == {2}


# Messages, counters and receipts


async def test_everybody_but_an_observer_writes_as_what_they_are(node: Node, chat: Chat) -> None:
    tenant, agent = await add(node, chat, CO_CLIENT, "Bea"), await add(node, chat, AGENT, "Carmen")
    observer = await add(node, chat, OBSERVER)
    sent = [await node.send(each, chat) for each in (chat.client, tenant, chat.owner, agent)]
    assert [each.sender_role for each in sent] == ["client", "co_client", "owner", "agent"]
    names = [each.sender and each.sender.first_name for each in sent]
    assert names == [None, "Bea", None, "Carmen"]
    await eventually(lambda: len(node.publisher.of(MessageSent)) == 4)
    everybody = {each.user_id for each in (*chat.people, tenant, agent, observer)}
    for event, message in zip(node.publisher.of(MessageSent), sent, strict=True):
        assert event.message == message
        assert set(event.member_ids) == everybody
    with pytest.raises(Forbidden):
        await node.send(observer, chat)
    # One who may write anywhere does so as what they are there.
    admin = replace(observer, role=Role.ADMIN)
    assert (await node.send(admin, chat)).sender_role is SenderRole.ADMIN
    # Those who left are named in what they wrote.
    await node.members.remove(HOST, chat.id, agent.user_id)
    assert (await node.all_messages(chat.client, chat))[3].sender == sent[3].sender


async def test_who_became_an_observer_changes_nothing_that_they_wrote(
    node: Node, chat: Chat
) -> None:
    agent = await add(node, chat, AGENT)
    message = await node.send(agent, chat)
    await node.members.put(HOST, chat.id, agent.user_id, OBSERVER)
    node.publisher.clear()
    with pytest.raises(Forbidden):
        await node.messages.edit(agent, message.id, "said by an observer")
    with pytest.raises(Forbidden):
        await node.messages.delete(agent, message.id)
    with pytest.raises(Forbidden):
        await node.typing.set_typing(agent, chat.id, "a", is_typing=True)
    assert node.publisher.events == []
    # An admin may write anywhere.
    admin = replace(agent, role=Role.ADMIN)
    assert (await node.messages.edit(admin, message.id, "said by an admin")).rev == message.rev + 2


async def test_what_a_side_put_away_an_observer_still_sees(node: Node, chat: Chat) -> None:
    observer = await add(node, chat, OBSERVER)
    for person in chat.people:
        await node.conversations.archive(person, chat.id)
    page = await node.conversations.list(observer, limit=5)
    assert [each.id for each in page.conversations] == [chat.id]


async def test_nothing_from_before_is_unread_and_all_that_others_send_is(
    node: Node, chat: Chat
) -> None:
    for number in range(3):
        await node.send(chat.client, chat, str(number))
    agent, observer = await add(node, chat, AGENT), await add(node, chat, OBSERVER)
    for person in (agent, observer):
        view = await node.view(person, chat)
        assert (view.unread_count, view.read_seq) == (0, 0)
        assert [each.content for each in await node.all_messages(person, chat)] == ["0", "1", "2"]
    await node.send(chat.owner, chat, "to my agent, too")
    message = await node.send(chat.client, chat)
    assert [(await node.view(each, chat)).unread_count for each in (agent, observer)] == [2, 0]
    assert await node.receipts.unread_total(agent) == 2
    # Deleting takes it away again; what came before them changes nothing.
    first = (await node.all_messages(agent, chat))[0]
    await node.messages.delete(chat.client, first.id)
    assert (await node.view(agent, chat)).unread_count == 2
    await node.messages.delete(chat.client, message.id)
    assert (await node.view(agent, chat)).unread_count == 1
    assert await node.receipts.mark_read(agent, chat.id, 2) == 1
    assert await node.receipts.mark_read(agent, chat.id, 5) == 0
    assert await node.receipts.mark_read(observer, chat.id, 5) == 0


async def test_the_furthest_of_the_other_side_decides_and_never_falls(
    node: Node, chat: Chat
) -> None:
    for number in range(4):
        await node.send(chat.client, chat, str(number))
    agent, observer = await add(node, chat, AGENT), await add(node, chat, OBSERVER)
    tenant = await add(node, chat, CO_CLIENT)
    # Neither an observer's nor the own side's reading is the other side's.
    for person in (observer, tenant):
        await node.receipts.mark_read(person, chat.id, 4)
    assert await seen_by(node, chat.client, chat) == "ssss"
    node.publisher.clear()
    await node.receipts.mark_delivered(chat.owner, chat.id, 3)
    await node.receipts.mark_read(agent, chat.id, 2)
    assert await seen_by(node, tenant, chat) == await seen_by(node, agent, chat) == "rrds"
    await eventually(lambda: len(node.publisher.of(ReadReceipt)) == 1)
    (receipt,) = node.publisher.of(ReadReceipt)
    assert (receipt.read_by, receipt.seq) == (agent.user_id, 2)
    for person in (chat.client, tenant):
        view = await node.view(person, chat)
        assert (view.peer_read_seq, view.peer_delivered_seq) == (2, 3)
    for person in (chat.owner, agent):
        assert (await node.view(person, chat)).peer_read_seq == 4
    for each in (observer, HOST):
        view = await node.view(each, chat)
        assert (view.peer_read_seq, view.peer_presence) == (0, None)
    # Nor does it fall when who read leaves, or goes on as an observer.
    await node.members.put(HOST, chat.id, agent.user_id, OBSERVER)
    assert await seen_by(node, chat.client, chat) == "rrds"
    await node.members.remove(HOST, chat.id, agent.user_id)
    assert await seen_by(node, chat.client, chat) == "rrds"
    assert (await node.view(chat.client, chat)).peer_read_seq == 2
    times = [each.read_at for each in await node.all_messages(chat.client, chat)]
    assert times == [receipt.read_at, receipt.read_at, None, None]


async def test_another_voice_is_read_when_either_side_has_read_it(node: Node, chat: Chat) -> None:
    agent = await add(node, chat, AGENT)
    await node.send(HOST, chat, "from the host")
    assert await seen_by(node, HOST, chat) == "s"
    await node.receipts.mark_read(agent, chat.id, 1)
    assert await seen_by(node, HOST, chat) == await seen_by(node, chat.client, chat) == "r"


async def test_two_agents_who_read_at_once_have_a_number_each(node: Node, chat: Chat) -> None:
    await node.send(chat.client, chat)
    agents = [await add(node, chat, AGENT) for _ in range(2)]
    await node.send(chat.client, chat)
    node.publisher.clear()
    for agent in (*agents, chat.owner):
        await node.receipts.mark_read(agent, chat.id, 2)
    await eventually(lambda: len(node.publisher.of(ReadReceipt)) == 3)
    revs = [each.rev for each in node.publisher.of(ReadReceipt)]
    assert revs == list(range(revs[0], revs[0] + 3))


async def test_presence_is_that_of_anyone_on_the_other_side(node: Node, chat: Chat) -> None:
    agent, observer = await add(node, chat, AGENT), await add(node, chat, OBSERVER)
    await node.presence.connected(observer.user_id, "eye")
    peer = (await node.view(chat.client, chat)).peer_presence
    assert peer is not None
    assert not peer.is_online
    await node.presence.connected(agent.user_id, "phone")
    peer = (await node.view(chat.client, chat)).peer_presence
    assert peer is not None
    assert peer.is_online
    assert set(peer.user_ids) == {chat.owner.user_id, agent.user_id}
    await node.members.remove(HOST, chat.id, agent.user_id)
    peer = (await node.view(chat.client, chat)).peer_presence
    assert peer is not None
    assert not peer.is_online


# Leaving


async def test_who_is_removed_loses_everything_at_once(node: Node, chat: Chat) -> None:
    agent = await add(node, chat, AGENT)
    theirs = await node.send(agent, chat, "mine")
    await node.send(chat.client, chat)
    assert await node.receipts.unread_total(agent) == 1
    node.publisher.clear()
    await node.members.remove(chat.owner, chat.id, agent.user_id)
    (unread,) = node.publisher.of(UnreadChanged)
    assert (unread.user_id, unread.unread_count, unread.total_unread_count) == (
        agent.user_id, 0, 0,
    )  # fmt: skip
    asked = [
        node.conversations.get(agent, chat.id),
        node.conversations.join(agent, chat.id),
        node.messages.history(agent, chat.id, limit=5),
        node.messages.get(agent, theirs.id),
        node.messages.edit(agent, theirs.id, "changed"),
        node.messages.delete(agent, theirs.id),
        node.receipts.mark_read(agent, chat.id, 1),
        node.members.list(agent, chat.id),
        node.send(agent, chat),
        node.presence.get(agent, chat.client.user_id),
    ]
    for one in asked:
        with pytest.raises(NotFound):
            await one
    assert not (await node.conversations.list(agent, limit=5)).conversations
    node.publisher.clear()
    message = await node.send(chat.client, chat)
    await node.messages.edit(chat.client, message.id, "edited")
    await eventually(lambda: len(node.publisher.of(UnreadChanged)) == 1)
    (sent,) = node.publisher.of(MessageSent)
    (updated,) = node.publisher.of(MessageUpdated)
    assert sent.member_ids == updated.member_ids == tuple(each.user_id for each in chat.people)


async def test_who_comes_back_has_what_they_read_and_no_badge(node: Node, chat: Chat) -> None:
    agent = await add(node, chat, AGENT)
    for _ in range(2):
        await node.send(chat.client, chat)
    await node.receipts.mark_read(agent, chat.id, 1)
    await node.members.remove(HOST, chat.id, agent.user_id)
    await node.send(chat.client, chat)
    _, is_new = await node.members.put(HOST, chat.id, agent.user_id, AGENT)
    assert is_new
    view = await node.view(agent, chat)
    assert (view.unread_count, view.read_seq) == (0, 1)
    await node.send(chat.client, chat)
    assert (await node.view(agent, chat)).unread_count == 1


async def test_sync_says_what_was_removed_until_the_cursor_knows(node: Node, chat: Chat) -> None:
    agent = await add(node, chat, AGENT)
    kept = await node.add_chat(owner=agent)
    before = await synced(node, agent)
    assert {one.conversation.id for one in before.conversations} == {chat.id, kept.id}
    assert not before.removed
    for _ in range(2):
        await node.members.remove(HOST, chat.id, agent.user_id)
        after = await synced(node, agent, before.cursor)
        assert (list(after.removed), after.conversations) == ([chat.id], [])
        assert list((await synced(node, agent, after.cursor)).removed) == []
        # Who was away meanwhile hears only that it is there.
        await node.members.put(HOST, chat.id, agent.user_id, AGENT)
        again = await synced(node, agent, after.cursor)
        assert [one.conversation.id for one in again.conversations] == [chat.id]
        assert list(again.removed) == list((await synced(node, agent, before.cursor)).removed) == []


async def test_one_from_whom_very_much_was_taken_begins_anew(
    node: Node, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await add(node, chat, AGENT)
    other = await node.add_chat()
    await node.members.put(HOST, other.id, agent.user_id, AGENT)
    before = await synced(node, agent)
    for each in (chat, other):
        await node.members.remove(HOST, each.id, agent.user_id)
    assert not (await synced(node, agent, before.cursor)).reset
    monkeypatch.setattr("chatserver.repositories.sync.MAX_REMOVED", 1)
    after = await synced(node, agent, before.cursor)
    assert (after.reset, after.conversations, list(after.removed)) == (True, [], [])


# The owner's side: closing, assigning, lists


async def test_a_closed_conversation_is_read_and_not_written(node: Node, chat: Chat) -> None:
    agent, tenant = await add(node, chat, AGENT), await add(node, chat, CO_CLIENT)
    message = await node.send(chat.client, chat)
    for who in (chat.client, tenant):
        with pytest.raises(Forbidden):
            await node.conversations.update(who, chat.id, is_active=False)
    node.publisher.clear()
    view = await node.conversations.update(agent, chat.id, is_active=False)
    assert not view.is_active
    (event,) = node.publisher.of(ConversationChanged)
    assert {each.is_active for each in event.views.values()} == {False}
    assert {each.rev for each in event.views.values()} == {message.rev + 1}
    for who in (*chat.people, agent, HOST):
        with pytest.raises(Forbidden):
            await node.send(who, chat)
    with pytest.raises(Forbidden):
        await node.messages.edit(chat.client, message.id, "changed")
    with pytest.raises(Forbidden):
        await node.messages.delete(chat.client, message.id)
    with pytest.raises(Forbidden):
        await node.typing.set_typing(chat.client, chat.id, "a", is_typing=True)
    assert await node.receipts.mark_read(chat.owner, chat.id, 1) == 0
    node.publisher.clear()
    await node.conversations.update(agent, chat.id, is_active=False)
    assert node.publisher.events == []
    await node.conversations.update(HOST, chat.id, is_active=True)
    await node.send(chat.client, chat)


async def test_it_is_assigned_to_one_of_the_owners_side_who_stays(node: Node, chat: Chat) -> None:
    agent = await add(node, chat, AGENT)
    for who in (chat.client, await add(node, chat, OBSERVER)):
        with pytest.raises(Forbidden):
            await node.conversations.update(who, chat.id, assigned_user_id=agent.user_id)
    for whom in (chat.client.user_id, uuid4()):
        with pytest.raises(InvalidPayload):
            await node.conversations.update(chat.owner, chat.id, assigned_user_id=whom)
    node.publisher.clear()
    view = await node.conversations.update(agent, chat.id, assigned_user_id=agent.user_id)
    (event,) = node.publisher.of(ConversationChanged)
    assert view.assigned_user_id == event.views[chat.owner.user_id].assigned_user_id
    assert view.assigned_user_id == agent.user_id
    await node.members.remove(chat.owner, chat.id, agent.user_id)
    assert (await node.view(chat.owner, chat)).assigned_user_id is None


async def test_two_changes_at_once_are_an_event_for_each_number(node: Node, chat: Chat) -> None:
    """A client that is told of a number beyond the next one takes the others for missed."""
    owner_id = chat.owner.user_id
    view = await node.conversations.update(
        chat.owner, chat.id, is_active=False, assigned_user_id=owner_id
    )
    events = node.publisher.of(ConversationChanged)
    assert [{v.rev for v in each.views.values()} for each in events] == [{1}, {2}]
    assert [each.visitors_view.rev for each in events if each.visitors_view] == [1, 2]
    assert view.rev == 2


async def test_lists_are_filtered_and_the_host_lists_anybodys(node: Node) -> None:
    agent = await node.add_user(Role.AGENT)
    chats = [await node.add_chat() for _ in range(4)]
    for each in chats:
        await node.members.put(HOST, each.id, agent.user_id, AGENT)
    mine, theirs, closed, unread = chats
    for each, whom in ((mine, agent), (theirs, theirs.owner)):
        await node.conversations.update(HOST, each.id, assigned_user_id=whom.user_id)
    await node.conversations.update(HOST, closed.id, is_active=False)
    await node.send(unread.client, unread)

    async def listed(
        filters: Filters, who: Principal = agent, user_id: UUID | None = None
    ) -> set[UUID]:
        page = await node.conversations.list(who, limit=10, filters=filters, user_id=user_id)
        return {each.id for each in page.conversations}

    everything = {each.id for each in chats}
    assert await listed(Filters()) == everything
    assert await listed(Filters(listing_id=mine.listing_id)) == {mine.id}
    assert await listed(Filters(assigned_to=agent.user_id)) == {mine.id}
    assert await listed(Filters(assigned_to=theirs.owner.user_id)) == {theirs.id}
    assert await listed(Filters(is_unassigned=True)) == {closed.id, unread.id}
    assert await listed(Filters(is_unread=True)) == {unread.id}
    assert await listed(Filters(is_unread=False)) == everything - {unread.id}
    assert await listed(Filters(is_active=False)) == {closed.id}
    assert await listed(Filters(is_active=True)) == everything - {closed.id}
    assert await listed(Filters(), HOST) == set()
    assert await listed(Filters(), HOST, user_id=agent.user_id) == everything
    with pytest.raises(Forbidden):
        await listed(Filters(), agent, user_id=mine.owner.user_id)
    await node.conversations.archive(agent, mine.id)
    assert await listed(Filters()) == everything - {mine.id}
    assert await listed(Filters(archived=True)) == everything
    # For the whole side.
    assert await listed(Filters(), mine.owner) == set()
    assert await listed(Filters(), mine.client) == {mine.id}


async def test_the_host_opens_for_somebody_and_nobody_else_does(node: Node) -> None:
    client, owner = await node.add_user(), await node.add_user(Role.OWNER)
    listing_id = await node.add_listing(owner)
    with pytest.raises(InvalidPayload):
        await node.conversations.open(HOST, listing_id)
    with pytest.raises(Forbidden):
        await node.conversations.open(await node.add_user(), listing_id, client.user_id)
    with pytest.raises(NotFound):
        await node.conversations.open(HOST, listing_id, uuid4())
    node.publisher.clear()
    view, is_new = await node.conversations.open(HOST, listing_id, client.user_id)
    assert (view.client_user_id, is_new) == (client.user_id, True)
    (event,) = node.publisher.of(ConversationChanged)
    assert set(event.views) == {client.user_id, owner.user_id}
    same, is_new = await node.conversations.open(client, listing_id, client.user_id)
    assert (same.id, is_new) == (view.id, False)


# Standing agents


@dataclass(frozen=True)
class Agency:
    """An owner with two conversations, of whom somebody is to be the standing agent."""

    owner: Principal
    agent: Principal
    chats: tuple[Chat, ...]

    async def members(self, node: Node) -> list[bool]:
        """In which of the conversations the agent is."""
        views = [await node.view(self.owner, chat) for chat in self.chats]
        return [any(p.user_id == self.agent.user_id for p in v.participants) for v in views]


@pytest_asyncio.fixture(loop_scope="module")
async def agency(node: Node) -> Agency:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(2)]
    return Agency(owner, await node.add_user(Role.AGENT, "Carmen"), tuple(chats))


async def test_a_standing_agent_is_in_all_conversations_of_the_owner(
    node: Node, agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "WALK_BATCH", 1)
    owner_id, agent_id = agency.owner.user_id, agency.agent.user_id
    for stranger in (agency.agent, await node.add_user()):
        with pytest.raises(Forbidden):
            await node.members.put_agent(stranger, owner_id, agent_id)
        with pytest.raises(Forbidden):
            await node.members.list_agents(stranger, owner_id)
    user, is_new = await node.members.put_agent(agency.owner, owner_id, agent_id)
    assert (user.first_name, is_new) == ("Carmen", True)
    assert not (await node.members.put_agent(HOST, owner_id, agent_id))[1]
    assert list(await node.members.list_agents(agency.owner, owner_id)) == [user]
    assert await agency.members(node) == [False, False]
    new = await node.add_chat(owner=agency.owner)
    assert (await node.view(agency.agent, new)).participants[-1].role is AGENT
    node.publisher.clear()
    await node.members.walk()
    assert await agency.members(node) == [True, True]
    assert len(node.publisher.of(ConversationChanged)) == 2
    await node.members.walk()
    assert len(node.publisher.of(ConversationChanged)) == 2
    await node.members.remove_agent(HOST, owner_id, agent_id)
    with pytest.raises(NotFound):
        await node.members.remove_agent(HOST, owner_id, agent_id)
    await node.members.walk()
    assert await agency.members(node) == [False, False]
    with pytest.raises(NotFound):
        await node.view(agency.agent, new)
    # And again from the beginning.
    assert (await node.members.put_agent(HOST, owner_id, agent_id))[1]
    await node.members.walk()
    assert await agency.members(node) == [True, True]


async def test_a_walk_passes_by_what_cannot_be_and_what_is_otherwise(
    node: Node, agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, observed = agency.chats
    await node.members.put(HOST, observed.id, agency.agent.user_id, OBSERVER)
    await node.members.put_agent(HOST, agency.owner.user_id, agency.agent.user_id)
    monkeypatch.setattr(members, "MAX_MEMBERS", 2)
    await node.members.walk()
    assert await agency.members(node) == [False, True]
    await node.members.remove_agent(HOST, agency.owner.user_id, agency.agent.user_id)
    await node.members.walk()
    assert await agency.members(node) == [False, True]
    async with node.database.transaction() as connection:
        known = await repository.get_known(connection, observed.id, agency.agent.user_id)
    assert known is not None
    assert known.role is OBSERVER
    assert full.id != observed.id


async def test_an_agent_whom_the_host_erased_meanwhile_is_not_added(
    node: Node, agency: Agency
) -> None:
    other = await node.add_chat()
    await node.members.put_agent(HOST, agency.owner.user_id, agency.agent.user_id)
    await node.members.put_agent(HOST, other.owner.user_id, agency.chats[0].client.user_id)
    await node.sql("DELETE FROM core.users WHERE id = :id", id=agency.agent.user_id)
    await node.members.walk()
    assert await agency.members(node) == [False, False]
    # And keeps nobody waiting.
    assert len((await node.view(other.owner, other)).participants) == 3


async def test_an_owner_who_is_their_own_client_elsewhere_is_no_agent(
    node: Node, agency: Agency
) -> None:
    """The client of one of the owner's conversations stays its client."""
    client = agency.chats[0].client
    await node.members.put_agent(HOST, agency.owner.user_id, client.user_id)
    await node.members.walk()
    view = await node.view(client, agency.chats[0])
    assert [each.role for each in view.participants] == ["client", "owner"]
    assert (await node.view(client, agency.chats[1])).participants[-1].role is AGENT
    listing_id = await node.add_listing(agency.owner)
    opened, _ = await node.conversations.open(client, listing_id)
    assert [each.role for each in opened.participants] == ["client", "owner"]
    with pytest.raises(ChatError):
        await node.members.put_agent(HOST, agency.owner.user_id, agency.owner.user_id)
