"""Conversations: one for each listing and pair, lists that miss nothing, own sides."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from chatserver.db import migrations
from chatserver.errors import Forbidden, NotFound, OwnListing
from chatserver.events import ConversationChanged
from chatserver.models import Conversation, Filters, Listing, Position, Principal, Role
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, principal, running_node, until_someone_waits


@pytest.fixture
async def chat(node: Node) -> Chat:
    return await node.add_chat()


async def pages(node: Node, person: Principal, limit: int) -> list[Conversation]:
    found: list[Conversation] = []
    after: Position | None = None
    while True:
        page = await node.conversations.list(person, limit=limit, after=after)
        found += page.conversations
        assert len(found) < 100, "the pages never end"
        if page.next is None:
            return found
        assert len(page.conversations) == limit
        after = page.next


# Opening


async def test_one_that_the_host_opens_is_told_to_both_as_each_sees_it(node: Node) -> None:
    client = await node.add_user(name="Ana")
    owner = await node.add_user(Role.OWNER, "Berta")
    listing_id = await node.add_listing(owner, "Loft")
    host = principal(uuid4(), Role.SERVICE)
    conversation, is_new = await node.conversations.open(host, listing_id, client.user_id)
    assert is_new
    assert conversation.peer_presence is None
    assert (conversation.client_user_id, conversation.owner_user_id) == (
        client.user_id, owner.user_id,
    )  # fmt: skip
    assert (conversation.client.first_name, conversation.owner.first_name) == ("Ana", "Berta")
    assert conversation.listing == Listing(listing_id, "Loft", Decimal("700.50"), "EUR")
    assert (conversation.last_seq, conversation.rev, conversation.last_message) == (0, 0, None)
    assert conversation.is_active
    (event,) = node.publisher.of(ConversationChanged)
    assert set(event.views) == {client.user_id, owner.user_id}
    peer = event.views[owner.user_id].peer_presence
    assert peer is not None
    assert peer.user_ids == (client.user_id,)


async def test_twenty_who_open_at_once_get_one_conversation(node: Node, database_url: str) -> None:
    client, owner = await node.add_user(), await node.add_user(Role.OWNER)
    listing_id = await node.add_listing(owner)
    async with running_node(database_url) as other:
        opened = await asyncio.gather(
            *((node, other)[n % 2].conversations.open(client, listing_id) for n in range(20))
        )
        told = node.publisher.events + other.publisher.events
    assert len({conversation.id for conversation, _ in opened}) == 1
    assert [is_new for _, is_new in opened].count(True) == 1
    assert len(told) == 1
    query = "SELECT count(*) FROM chat.participants WHERE user_id = :id"
    assert await node.value(query, id=client.user_id) == 1


async def test_two_who_write_to_each_other_for_the_first_time_do_not_block_each_other(
    node: Node, database_url: str
) -> None:
    """Both transactions make their rows in the same order, whoever the client is."""
    people = [await node.add_user() for _ in range(2)]
    low, high = sorted(people, key=lambda person: person.user_id)
    listing_id = await node.add_listing(low)
    insert = "INSERT INTO chat.unread_totals (user_id) VALUES ($1)"
    async with (
        connected(database_url) as one,
        connected(database_url, lock_timeout="500ms") as two,
    ):
        await one.execute("BEGIN")
        await one.execute(insert, low.user_id)
        opening = asyncio.create_task(node.conversations.open(high, listing_id))
        await until_someone_waits(two)
        await two.execute("BEGIN")
        await two.execute(insert, high.user_id)
        await two.execute("ROLLBACK")
        await one.execute("ROLLBACK")
        assert (await opening)[1]
    assert await find_faults(node.database) == {}


async def test_one_client_has_a_conversation_for_each_listing_and_owner(
    node: Node, chat: Chat
) -> None:
    second = await node.add_chat(chat.client, chat.owner)
    third = await node.conversations.open(await node.add_user(), chat.listing_id)
    assert len({chat.id, second.id, third[0].id}) == 3
    # A listing that changes hands: its new owner gets a new conversation.
    heir = await node.add_user(Role.OWNER)
    await node.sql(
        "UPDATE core.listings SET owner_user_id = :heir WHERE id = :id",
        heir=heir.user_id, id=chat.listing_id,
    )  # fmt: skip
    conversation, is_new = await node.conversations.open(chat.client, chat.listing_id)
    assert is_new
    assert conversation.owner_user_id == heir.user_id


async def test_an_unknown_listing_and_ones_own_are_refused(node: Node, chat: Chat) -> None:
    with pytest.raises(NotFound):
        await node.conversations.open(chat.client, uuid4())
    with pytest.raises(OwnListing):
        await node.conversations.open(chat.owner, chat.listing_id)
    query = "SELECT count(*) FROM chat.participants WHERE user_id IN (:client, :owner)"
    people = {"client": chat.client.user_id, "owner": chat.owner.user_id}
    assert await node.value(query, **people) == 2


@pytest.mark.parametrize("owner", ["NULL", f"'{uuid4()}'"], ids=["nobody", "somebody-gone"])
async def test_a_listing_that_nobody_can_answer_for_is_not_there(
    empty_database_url: str, owner: str
) -> None:
    listing_id = uuid4()
    async with connected(empty_database_url) as host:
        await host.execute(
            "CREATE SCHEMA core; CREATE TABLE core.users (id uuid PRIMARY KEY);"
            "CREATE TABLE core.listings (id uuid PRIMARY KEY, owner_user_id uuid);"
            f"INSERT INTO core.users VALUES ('{UUID(int=1)}');"
            f"INSERT INTO core.listings VALUES ('{listing_id}', {owner})"
        )
    await migrations.upgrade(empty_database_url)
    async with running_node(empty_database_url) as node:
        ((user_id,),) = await node.sql("SELECT id FROM core.users")
        with pytest.raises(NotFound):
            await node.conversations.open(principal(user_id), listing_id)


# Seeing


async def test_each_participant_sees_the_own_side(node: Node, chat: Chat) -> None:
    for number in range(3):
        await node.send(chat.client, chat, str(number))
    last = await node.send(chat.owner, chat, "answer")
    await node.receipts.mark_read(chat.owner, chat.id, 2)
    await node.receipts.mark_delivered(chat.owner, chat.id, 3)
    mine, theirs = await node.view(chat.client, chat), await node.view(chat.owner, chat)
    assert (mine.unread_count, mine.read_seq) == (1, 0)
    assert (mine.peer_read_seq, mine.peer_delivered_seq) == (2, 3)
    assert (theirs.unread_count, theirs.read_seq) == (1, 2)
    assert (theirs.peer_read_seq, theirs.peer_delivered_seq) == (0, 0)
    for view in (mine, theirs):
        assert (view.last_seq, view.rev, view.last_message) == (4, 6, last)
        assert view.last_message_at == last.created_at
    assert mine.peer_presence
    assert mine.peer_presence.user_ids == (chat.owner.user_id,)


async def test_the_last_message_shows_its_ticks_and_its_tombstone(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat)
    await node.receipts.mark_read(chat.owner, chat.id, 1)
    await node.messages.delete(chat.client, message.id)
    last = (await node.view(chat.client, chat)).last_message
    assert last == await node.messages.get(chat.client, message.id)
    assert last.is_deleted
    assert last.read_at is not None


async def test_others_see_nothing_and_the_host_sees_all(node: Node, chat: Chat) -> None:
    await node.send(chat.client, chat)
    for where in (chat.id, uuid4()):
        with pytest.raises(NotFound) as caught:
            await node.conversations.get(await node.add_user(), where)
        assert caught.value.to_dict() == NotFound().to_dict()
    view = await node.view(await node.add_user(Role.SERVICE), chat)
    assert (view.last_seq, view.unread_count, view.read_seq) == (1, 0, 0)
    assert (view.peer_read_seq, view.peer_delivered_seq, view.peer_presence) == (0, 0, None)
    assert (view.client.first_name, view.owner.first_name) == ("Tenant", "Landlord")


async def test_a_listing_is_shown_as_it_is_now_and_its_snapshot_once_it_is_gone(
    node: Node, chat: Chat
) -> None:
    await node.send(chat.client, chat)
    await node.sql(
        "UPDATE core.listings SET title = 'Cheaper', price = 600, currency = NULL WHERE id = :id",
        id=chat.listing_id,
    )
    listing = (await node.view(chat.client, chat)).listing
    assert listing == Listing(chat.listing_id, "Cheaper", Decimal(600), "EUR")
    await node.sql("DELETE FROM core.listings")
    view = await node.view(chat.client, chat)
    assert (view.listing_id, view.last_seq) == (None, 1)
    assert view.listing == Listing(None, "A flat", Decimal("700.50"), "EUR")
    await node.send(chat.owner, chat, "goes on")
    assert len(await pages(node, chat.owner, 5)) == 1
    (row,) = await node.sql(
        "SELECT * FROM chat.conversations_with_last_message WHERE id = :id", id=chat.id
    )
    assert (row.listing_title, row.last_message_content) == ("A flat", "goes on")


async def test_two_conversations_of_which_the_listings_are_gone_may_look_the_same(
    node: Node, chat: Chat
) -> None:
    await node.add_chat(chat.client, chat.owner)
    await node.sql("DELETE FROM core.listings")
    assert len(await pages(node, chat.client, 5)) == 2


# Lists


async def test_a_list_is_in_order_of_the_latest_activity(node: Node) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(4)]
    await node.send(chats[1].client, chats[1])
    await node.send(chats[0].client, chats[0])
    listed = await pages(node, owner, 100)
    assert [each.id for each in listed] == [chats[n].id for n in (0, 1, 3, 2)]
    # A receipt or an edit is no activity.
    await node.receipts.mark_read(owner, chats[1].id, 1)
    assert [each.id for each in await pages(node, owner, 100)] == [each.id for each in listed]
    stranger = await node.add_user()
    assert (await node.conversations.list(stranger, limit=5)).conversations == []


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 20])
async def test_pages_put_together_are_the_whole_list(node: Node, limit: int) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(8)]
    for chat in chats[::2]:
        await node.send(chat.client, chat)
    # Ties are told apart by the id.
    await node.sql("UPDATE chat.conversations SET created_at = '2020-01-01' WHERE last_seq = 0")
    whole = (await node.conversations.list(owner, limit=100)).conversations
    assert len(whole) == 8
    assert await pages(node, owner, limit) == list(whole)
    by_skip = [
        each
        for skip in range(0, 8, limit)
        for each in (await node.conversations.list(owner, limit=limit, skip=skip)).conversations
    ]
    assert by_skip == list(whole)


async def test_while_messages_arrive_no_page_repeats_one_and_what_moved_is_on_top(
    node: Node,
) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(9)]
    seen: list[UUID] = []
    after: Position | None = None
    moved = (chats[0], chats[4], chats[8])
    for n in range(9):
        page = await node.conversations.list(owner, limit=2, after=after)
        seen += [each.id for each in page.conversations]
        if (after := page.next) is None:
            break
        if n < len(moved):
            await node.send(moved[n].client, moved[n])
    assert len(seen) == len(set(seen))
    assert {each.id for each in chats} - set(seen) <= {each.id for each in moved}
    top = (await node.conversations.list(owner, limit=3)).conversations
    assert [each.id for each in top] == [each.id for each in reversed(moved)]


async def test_the_order_of_a_list_agrees_with_its_own_times(node: Node) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(6)]
    await asyncio.gather(*(node.send(chat.client, chat) for chat in chats * 3))
    listed = await pages(node, owner, 4)
    times = [each.last_message_at or each.created_at for each in listed]
    assert all(a >= b for a, b in pairwise(times))
    assert all(each.last_message and each.last_message.seq == 3 for each in listed)


# Archiving


async def test_archiving_is_for_the_own_side_and_can_be_undone(node: Node, chat: Chat) -> None:
    node.publisher.clear()
    await node.conversations.archive(chat.client, chat.id)
    assert await pages(node, chat.client, 5) == []
    assert len(await pages(node, chat.owner, 5)) == 1
    with_archived = await node.conversations.list(
        chat.client, limit=5, filters=Filters(archived=True)
    )
    assert [each.archived_by_client for each in with_archived.conversations] == [True]
    (event,) = node.publisher.of(ConversationChanged)
    assert list(event.views) == [chat.client.user_id]
    assert event.views[chat.client.user_id].archived_by_client
    await node.conversations.archive(chat.client, chat.id)
    assert len(node.publisher.events) == 1
    await node.conversations.archive(chat.client, chat.id, archived=False)
    assert len(await pages(node, chat.client, 5)) == 1
    assert len(node.publisher.events) == 2


async def test_archiving_stamps_the_conversation_as_changed(node: Node, chat: Chat) -> None:
    query = "SELECT changed_xid::text FROM chat.conversations WHERE id = :id"
    before = await node.value(query, id=chat.id)
    await node.conversations.archive(chat.owner, chat.id)
    after = await node.value(query, id=chat.id)
    assert int(after) > int(before)


async def test_only_participants_archive(node: Node, chat: Chat) -> None:
    stranger, admin = await node.add_user(), await node.add_user(Role.ADMIN)
    for who, where, error in (
        (stranger, chat.id, NotFound),
        (admin, chat.id, Forbidden),
        (admin, uuid4(), NotFound),
    ):
        with pytest.raises(error):
            await node.conversations.archive(who, where)
