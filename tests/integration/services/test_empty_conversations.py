"""Conversations without a word: not the owner's before their first message, and then at once."""

from uuid import UUID, uuid4

import pytest

from chatserver.errors import NotFound, RateLimited
from chatserver.events import ConversationChanged, HeadMoved, MessageSent, UnreadChanged
from chatserver.models import Conversation, Filters, Principal, Role
from chatserver.repositories import nodes
from chatserver.services.sync import OpenState, SyncResult, SyncService
from tests.kit.recount import find_faults
from tests.kit.services import Node, principal, running_node
from tests.kit.waiting import eventually


class Opened:
    """A conversation that a tenant has opened with a landlord, about nothing yet."""

    def __init__(self, node: Node, client: Principal, owner: Principal, view: Conversation) -> None:
        self.node = node
        self.client = client
        self.owner = owner
        self.view = view
        self.id = view.id

    async def listed(self, person: Principal) -> list[UUID]:
        page = await self.node.conversations.list(person, limit=5, filters=Filters(archived=True))
        return [each.id for each in page.conversations]

    async def sync(self, person: Principal, cursor: str | None = None) -> SyncResult:
        return await syncing(self.node).sync(person, cursor=cursor, limit=10, open={})

    async def synced(self, person: Principal, cursor: str | None = None) -> list[UUID]:
        answer = await self.sync(person, cursor)
        return [each.conversation.id for each in answer.conversations]


def syncing(node: Node) -> SyncService:
    return SyncService(
        node.database, node.host, node.presence, node.senders, max_answer_bytes=2**20, at_once=2
    )


async def open_one(node: Node, role: Role = Role.CLIENT) -> Opened:
    client = await node.add_user(name="Ana")
    owner = await node.add_user(Role.OWNER, "Berta")
    opener = client if role is Role.CLIENT else principal(uuid4(), role)
    listing_id = await node.add_listing(owner)
    view, is_new = await node.conversations.open(opener, listing_id, client.user_id)
    assert is_new
    return Opened(node, client, owner, view)


@pytest.fixture
async def opened(node: Node) -> Opened:
    return await open_one(node)


async def test_one_without_a_word_is_not_the_owners(node: Node, opened: Opened) -> None:
    (event,) = node.publisher.of(ConversationChanged)
    assert list(event.views) == [opened.client.user_id]
    assert await opened.listed(opened.client) == await opened.synced(opened.client) == [opened.id]
    assert await opened.listed(opened.owner) == await opened.synced(opened.owner) == []
    assert await node.receipts.unread_total(opened.owner) == 0
    # Nor is its client somebody whom the owner shares a conversation with.
    with pytest.raises(NotFound):
        await node.presence.get(opened.owner, opened.client.user_id)
    assert (await node.presence.get(opened.client, opened.owner.user_id)).is_online is False
    # It is no secret: by its id it can be read.
    assert (await node.conversations.get(opened.owner, opened.id)).id == opened.id
    state = {opened.id: OpenState(seq=0, rev=0)}
    answer = await syncing(node).sync(opened.owner, cursor=None, limit=10, open=state)
    assert [each.conversation.id for each in answer.conversations] == [opened.id]


async def test_it_reaches_the_owner_with_its_first_message_and_before_it(
    node: Node, opened: Opened
) -> None:
    cursor = (await opened.sync(opened.owner)).cursor
    # What the tenant alone sees of it is no news for the owner.
    await node.conversations.archive(opened.client, opened.id)
    assert await opened.synced(opened.owner, cursor) == []
    node.publisher.clear()
    first = await node.send(opened.client, opened.id, "Is it still free?")
    # At once: whoever sends the next one, over another node, does so after it was told.
    told, sent, unread = node.publisher.events
    assert isinstance(told, ConversationChanged)
    assert isinstance(sent, MessageSent)
    assert isinstance(unread, UnreadChanged)
    assert list(told.views) == [opened.owner.user_id]
    view = told.views[opened.owner.user_id]
    assert (view.id, view.rev, view.last_seq, view.last_message) == (opened.id, 0, 0, None)
    assert (view.client.first_name, view.listing.title) == ("Ana", "A flat")
    assert view.peer_presence is not None
    assert view.peer_presence.user_ids == (opened.client.user_id,)
    assert (sent.message, sent.message.rev) == (first, 1)
    assert await opened.listed(opened.owner) == [opened.id]
    assert (await node.presence.get(opened.owner, opened.client.user_id)).is_online is False
    assert await opened.synced(opened.owner, cursor) == [opened.id]
    assert await opened.synced(opened.owner) == [opened.id]
    # Once.
    node.publisher.clear()
    await node.send(opened.owner, opened.id, "It is.")
    await eventually(lambda: bool(node.publisher.of(UnreadChanged)))
    assert node.publisher.of(ConversationChanged) == []
    assert await find_faults(node.database) == {}


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ADMIN])
async def test_one_that_the_host_opens_is_told_at_once(node: Node, role: Role) -> None:
    opened = await open_one(node, role)
    (event,) = node.publisher.of(ConversationChanged)
    assert set(event.views) == {opened.client.user_id, opened.owner.user_id}
    assert await opened.listed(opened.owner) == await opened.synced(opened.owner) == [opened.id]
    node.publisher.clear()
    await node.send(opened.client, opened.id)
    await eventually(lambda: bool(node.publisher.of(UnreadChanged)))
    assert node.publisher.of(ConversationChanged) == []


async def test_a_hint_is_for_those_who_know_of_it(node: Node, opened: Opened) -> None:
    people = [opened.client.user_id, opened.owner.user_id]
    for expected in (people[:1], people):
        node.publisher.clear()
        node.heads.request([opened.id])
        await eventually(lambda: bool(node.publisher.of(HeadMoved)))
        (head,) = node.publisher.of(HeadMoved)
        async with node.database.transaction() as connection:
            (changed,) = await nodes.list_changed(connection, people, 0)
        assert list(head.member_ids) == list(changed.audience) == expected
        await node.send(opened.client, opened.id)


async def test_a_message_is_told_although_the_news_of_its_conversation_cannot_be(
    node: Node, opened: Opened
) -> None:
    node.publisher.clear()
    await node.sql("ALTER TABLE core.listings RENAME TO hidden")
    await node.send(opened.client, opened.id)
    await eventually(lambda: bool(node.publisher.of(UnreadChanged)))
    assert len(node.publisher.of(MessageSent)) == 1
    await node.sql("ALTER TABLE core.hidden RENAME TO listings")
    await node.send(opened.client, opened.id)
    await eventually(lambda: len(node.publisher.of(MessageSent)) == 2)


# How many one may open


async def test_so_many_may_be_opened_and_what_is_there_costs_nothing(database_url: str) -> None:
    async with running_node(database_url, rate_limit__conversations="2/hour") as node:
        client, owner = await node.add_user(), await node.add_user(Role.OWNER)
        listings = [await node.add_listing(owner) for _ in range(3)]
        for listing in (*listings[:2], *listings[:2], *listings[:2]):
            await node.conversations.open(client, listing)
        with pytest.raises(NotFound):
            await node.conversations.open(client, client.user_id)
        with pytest.raises(RateLimited) as refused:
            await node.conversations.open(client, listings[2])
        assert 3500 < (refused.value.retry_after or 0) <= 3600
        await node.conversations.open(client, listings[0])
        # Others are not concerned, and the host's back end has no limit.
        await node.conversations.open(await node.add_user(), listings[2])
        service, another = await node.add_user(Role.SERVICE), await node.add_user()
        for listing in listings:
            assert (await node.conversations.open(service, listing, another.user_id))[1]
