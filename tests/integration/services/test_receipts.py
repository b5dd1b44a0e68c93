"""Receipts: cursors that only rise, exact times, counters that equal a recount."""

import asyncio
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from chatserver.errors import Forbidden, InvalidPayload, NotFound, Unavailable
from chatserver.events import DeliveryReceipt, HeadMoved, ReadReceipt, UnreadChanged
from chatserver.models import Principal, Role
from tests.kit.proxy import postgres_upstream, running_proxy
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, running_node
from tests.kit.waiting import eventually


@pytest.fixture
async def chat(node: Node) -> Chat:
    """With ten messages of the client."""
    chat = await node.add_chat()
    for number in range(10):
        await node.send(chat.client, chat, str(number))
    node.publisher.clear()
    return chat


async def cursors(node: Node, chat: Chat, person: Principal) -> tuple[int, int, int]:
    ((delivered, read, unread),) = await node.sql(
        "SELECT delivered_seq, read_seq, unread_count FROM chat.participants"
        " WHERE conversation_id = :chat AND user_id = :person",
        chat=chat.id,
        person=person.user_id,
    )
    return delivered, read, unread


async def statuses(node: Node, chat: Chat) -> str:
    """One letter for each message, as both participants see it."""
    by_client = await node.all_messages(chat.client, chat)
    assert by_client == await node.all_messages(chat.owner, chat)
    return "".join(each.status[0] for each in by_client)


async def test_delivered_and_read_move_a_cursor_and_tell_both(node: Node, chat: Chat) -> None:
    messages = await node.all_messages(chat.client, chat)
    await node.receipts.mark_delivered(chat.owner, chat.id, 6)
    assert await cursors(node, chat, chat.owner) == (6, 0, 10)
    assert await statuses(node, chat) == "ddddddssss"
    assert await node.receipts.mark_read(chat.owner, chat.id, 4) == 6
    assert await cursors(node, chat, chat.owner) == (6, 4, 6)
    assert await statuses(node, chat) == "rrrrddssss"
    delivery, read, unread = node.publisher.events
    people = (chat.client.user_id, chat.owner.user_id)
    assert isinstance(delivery, DeliveryReceipt)
    assert (delivery.seq, delivery.rev, delivery.message_id) == (6, 11, messages[5].id)
    assert (delivery.delivered_to, delivery.member_ids) == (chat.owner.user_id, people)
    assert isinstance(read, ReadReceipt)
    assert (read.seq, read.rev, read.message_id) == (4, 12, messages[3].id)
    assert (read.read_by, read.member_ids) == (chat.owner.user_id, people)
    assert isinstance(unread, UnreadChanged)
    assert unread == UnreadChanged(chat.owner.user_id, chat.id, 6, 6, unread.version)
    assert await find_faults(node.database) == {}


async def test_reading_delivers_too_with_one_number(node: Node, chat: Chat) -> None:
    assert await node.receipts.mark_read(chat.owner, chat.id, 10) == 0
    assert await cursors(node, chat, chat.owner) == (10, 10, 0)
    assert await statuses(node, chat) == "r" * 10
    assert [type(each) for each in node.publisher.events] == [ReadReceipt, UnreadChanged]
    query = (
        "SELECT kind::text, seq, rev FROM chat.receipts WHERE conversation_id = :id ORDER BY kind"
    )
    rows = await node.sql(query, id=chat.id)
    assert [tuple(row) for row in rows] == [("delivered", 10, 11), ("read", 10, 11)]
    last = (await node.all_messages(chat.client, chat))[-1]
    assert last.delivered_at == last.read_at
    assert (await node.view(chat.client, chat)).rev == 11


async def test_a_cursor_never_goes_back_and_standing_still_is_no_change(
    node: Node, chat: Chat
) -> None:
    await node.receipts.mark_read(chat.owner, chat.id, 7)
    node.publisher.clear()
    for seq in (7, 3, 1, 0):
        assert await node.receipts.mark_read(chat.owner, chat.id, seq) == 3
        await node.receipts.mark_delivered(chat.owner, chat.id, seq)
    assert await cursors(node, chat, chat.owner) == (7, 7, 3)
    assert node.publisher.events == []
    assert (await node.view(chat.client, chat)).rev == 11


async def test_times_are_those_of_the_first_move_that_reached_a_message(
    node: Node, chat: Chat
) -> None:
    moves: dict[int, tuple[object, object]] = {}
    for seq in (3, 7, 10):
        await node.receipts.mark_delivered(chat.owner, chat.id, seq)
        if seq == 7:
            await node.receipts.mark_read(chat.owner, chat.id, 5)
    delivered = {each.seq: each.delivered_at for each in node.publisher.of(DeliveryReceipt)}
    (read,) = node.publisher.of(ReadReceipt)
    for message in await node.all_messages(chat.client, chat):
        moves[message.seq] = message.delivered_at, message.read_at
    reached = {seq: min(each for each in (3, 7, 10) if each >= seq) for seq in moves}
    assert moves == {
        seq: (delivered[reached[seq]], read.read_at if seq <= 5 else None) for seq in moves
    }


async def test_beyond_the_last_message_is_refused_and_told_to_nobody(
    node: Node, chat: Chat
) -> None:
    for seq in (11, 2**53, 2**80):
        for action in (node.receipts.mark_read, node.receipts.mark_delivered):
            with pytest.raises(InvalidPayload) as caught:
                await action(chat.owner, chat.id, seq)
            assert list(caught.value.fields or ()) == ["seq"]
    assert node.publisher.events == []
    assert await cursors(node, chat, chat.owner) == (0, 0, 10)


async def test_another_ones_conversation_is_not_there_and_the_host_only_watches(
    node: Node, chat: Chat
) -> None:
    stranger, admin = await node.add_user(), await node.add_user(Role.ADMIN)
    message = (await node.all_messages(chat.client, chat))[0]
    for who, where, error in (
        (stranger, chat.id, NotFound),
        (stranger, uuid4(), NotFound),
        (admin, chat.id, Forbidden),
        (admin, uuid4(), NotFound),
    ):
        with pytest.raises(error):
            await node.receipts.mark_read(who, where, 1)
        with pytest.raises(error):
            await node.receipts.mark_delivered(who, where, 1)
    with pytest.raises(NotFound):
        await node.receipts.mark_message_read(stranger, message.id)
    with pytest.raises(Forbidden):
        await node.receipts.mark_message_read(admin, message.id)
    assert node.publisher.events == []


async def test_a_message_is_read_with_every_earlier_one(node: Node, chat: Chat) -> None:
    messages = await node.all_messages(chat.client, chat)
    assert await node.receipts.mark_message_read(chat.owner, messages[7].id) == 2
    assert await statuses(node, chat) == "rrrrrrrrss"
    with pytest.raises(NotFound):
        await node.receipts.mark_message_read(chat.owner, uuid7())


async def test_own_messages_never_count_and_sending_reads_nothing(node: Node, chat: Chat) -> None:
    await node.send(chat.owner, chat, "answer")
    assert await cursors(node, chat, chat.owner) == (0, 0, 10)
    assert await cursors(node, chat, chat.client) == (0, 0, 1)
    # Reading one's own last message reads what came before it.
    assert await node.receipts.mark_read(chat.owner, chat.id, 11) == 0
    assert await statuses(node, chat) == "rrrrrrrrrrs"


async def test_reading_up_to_the_middle_counts_what_is_left_as_it_is_now(
    node: Node, chat: Chat
) -> None:
    messages = await node.all_messages(chat.client, chat)
    await node.send(chat.owner, chat, "own")
    await node.send(chat.client, chat, "last")
    await node.messages.delete(chat.client, messages[8].id)
    await node.messages.delete(chat.client, messages[1].id)
    assert await node.receipts.mark_read(chat.owner, chat.id, 5) == 5
    assert await node.receipts.unread_total(chat.owner) == 5
    assert await find_faults(node.database) == {}


async def test_the_total_is_over_all_conversations(node: Node, chat: Chat) -> None:
    second = await node.add_chat(owner=chat.owner)
    await node.send(second.client, second)
    assert await node.receipts.unread_total(chat.owner) == 11
    node.publisher.clear()
    await node.receipts.mark_read(chat.owner, chat.id, 8)
    (unread,) = node.publisher.of(UnreadChanged)
    assert unread == UnreadChanged(chat.owner.user_id, chat.id, 2, 3, unread.version)
    assert await node.receipts.unread_total(await node.add_user()) == 0


async def test_one_that_is_refused_does_not_fail_its_neighbours(node: Node, chat: Chat) -> None:
    stranger = await node.add_user()
    results = await asyncio.gather(
        node.receipts.mark_read(stranger, chat.id, 1),
        node.receipts.mark_read(chat.owner, chat.id, 99),
        node.receipts.mark_read(chat.owner, chat.id, 10),
        node.receipts.mark_read(chat.owner, uuid4(), 1),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [NotFound, InvalidPayload, int, NotFound]
    assert results[2] == 0


async def test_after_a_commit_that_was_cut_off_the_participants_are_told_to_look(
    database_url: str,
) -> None:
    async with (
        running_proxy(postgres_upstream(database_url)) as proxy,
        running_node(proxy.url(database_url)) as node,
    ):
        chat = await node.add_chat()
        await node.send(chat.client, chat)
        proxy.cut_after(b"COMMIT")
        with pytest.raises(Unavailable):
            await node.receipts.mark_read(chat.owner, chat.id, 1)
        await eventually(lambda: node.publisher.of(HeadMoved) != [])
        assert await node.receipts.mark_read(chat.owner, chat.id, 1) == 0
        assert await find_faults(node.database) == {}
