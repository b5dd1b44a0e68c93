"""Receipts of many at once: few moves, each told, and counters that equal a recount."""

import asyncio
import random
from collections import Counter
from uuid import UUID

import pytest

from chatserver.errors import ChatError, InvalidPayload
from chatserver.events import DeliveryReceipt, ReadReceipt
from chatserver.models import MessageStatus, Principal, Role
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, until_someone_waits


@pytest.fixture
async def chat(node: Node) -> Chat:
    """With ten messages of the client."""
    chat = await node.add_chat()
    for number in range(10):
        await node.send(chat.client, chat, str(number))
    node.publisher.clear()
    return chat


async def statuses(node: Node, chat: Chat) -> str:
    """One letter for each message, as both participants see it."""
    by_client = await node.all_messages(chat.client, chat)
    assert by_client == await node.all_messages(chat.owner, chat)
    return "".join(each.status[0] for each in by_client)


async def test_requests_that_wait_together_become_one_move(
    node: Node, chat: Chat, database_url: str
) -> None:
    async with connected(database_url) as holder, connected(database_url) as watcher:
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        first = asyncio.create_task(node.receipts.mark_read(chat.owner, chat.id, 1))
        await until_someone_waits(watcher)
        reads = [
            asyncio.create_task(node.receipts.mark_read(chat.owner, chat.id, seq))
            for seq in (2, 9, 4, 11, 8)
        ]
        await asyncio.sleep(0.02)
        await holder.execute("COMMIT")
        results = await asyncio.gather(first, *reads, return_exceptions=True)
    assert isinstance(results.pop(4), InvalidPayload)
    assert results == [9, 1, 1, 1, 1]
    assert [(each.seq, each.rev) for each in node.publisher.of(ReadReceipt)] == [(1, 11), (9, 12)]
    assert await find_faults(node.database) == {}


async def test_delivered_further_than_read_in_one_move_is_two_events_with_two_numbers(
    node: Node, chat: Chat, database_url: str
) -> None:
    """A client must hear of both, and it drops a number that it has seen."""
    await node.send(chat.owner, chat, "for the other side")
    node.publisher.clear()
    messages = await node.all_messages(chat.client, chat)
    async with connected(database_url) as holder, connected(database_url) as watcher:
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        first = asyncio.create_task(node.receipts.mark_delivered(chat.owner, chat.id, 1))
        await until_someone_waits(watcher)
        rest = [
            asyncio.create_task(action)
            for action in (
                node.receipts.mark_delivered(chat.owner, chat.id, 9),
                node.receipts.mark_read(chat.owner, chat.id, 5),
                node.receipts.mark_delivered(chat.client, chat.id, 11),
            )
        ]
        await asyncio.sleep(0.02)
        await holder.execute("COMMIT")
        await asyncio.gather(first, *rest)
    receipts = [
        each for each in node.publisher.events if isinstance(each, DeliveryReceipt | ReadReceipt)
    ]
    assert [each.rev for each in receipts] == [12, 13, 14, 15]
    told = {(type(each), each.seq, each.message_id) for each in receipts}
    assert told == {
        (DeliveryReceipt, 1, messages[0].id),
        (DeliveryReceipt, 9, messages[8].id),
        (ReadReceipt, 5, messages[4].id),
        (DeliveryReceipt, 11, messages[10].id),
    }
    assert await statuses(node, chat) == "rrrrrddddsd"
    assert await find_faults(node.database) == {}


async def test_many_participants_move_in_one_batch_over_two_nodes(
    node: Node, other_node: Node
) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(8)]
    for chat in chats:
        for number in range(4):
            await node.send(chat.people[number % 2], chat)
    await asyncio.gather(
        *(
            each.receipts.mark_read(person, chat.id, seq)
            for seq in (1, 3, 2, 4)
            for chat in chats
            for person in chat.people
            for each in (node, other_node)
        )
    )
    assert await node.receipts.unread_total(owner) == 0
    assert await find_faults(node.database) == {}


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_at_once_leaves_cursors_and_counters_right(
    node: Node, other_node: Node, seed: int
) -> None:
    """Two hundred sends, reads, deliveries, edits and deletes, by several at a time."""
    dice = random.Random(seed)
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(3)]
    sent: list[tuple[Principal, UUID]] = []
    outcomes: Counter[str] = Counter()

    async def act() -> None:
        mine, chat = dice.choice((node, other_node)), dice.choice(chats)
        person = dice.choice(chat.people)
        seq = dice.randrange(0, len(sent) // 2 + 3)
        what = dice.choices(("send", "read", "delivered", "edit", "delete"), (8, 5, 5, 2, 3))[0]
        try:
            if what == "send":
                sent.append((person, (await mine.send(person, chat, str(seq))).id))
            elif what == "read":
                await mine.receipts.mark_read(person, chat.id, seq)
            elif what == "delivered":
                await mine.receipts.mark_delivered(person, chat.id, seq)
            elif sent:
                who, message_id = dice.choice(sent)
                if what == "edit":
                    await mine.messages.edit(who, message_id, str(dice.random()))
                else:
                    await mine.messages.delete(who, message_id)
            outcomes[what] += 1
        except ChatError as error:
            outcomes[f"{what}: {error.code}"] += 1

    async def work() -> None:
        for _ in range(25):
            await act()

    await asyncio.gather(*(work() for _ in range(8)))
    assert set(outcomes) <= {
        *("send", "read", "delivered", "edit", "delete"),
        *("read: invalid_payload", "delivered: invalid_payload", "edit: forbidden"),
    }, outcomes
    assert outcomes["send"] > 30
    assert await find_faults(node.database) == {}
    for chat in chats:
        for person in chat.people:
            view = await node.view(person, chat)
            theirs = [
                each
                for each in await node.all_messages(person, chat)
                if each.sender_id != person.user_id and not each.is_deleted
            ]
            assert view.unread_count == sum(
                each.status is not MessageStatus.READ for each in theirs
            )
            assert view.read_seq <= view.last_seq
    await told_everything(node, other_node, chats)


async def told_everything(node: Node, other_node: Node, chats: list[Chat]) -> None:
    """Every change of a conversation was published, with its own number, by one node."""
    events = node.publisher.events + other_node.publisher.events
    for chat in chats:
        revs = [
            each.message.rev if hasattr(each, "message") else each.rev
            for each in events
            if (getattr(each, "conversation_id", None) == chat.id and hasattr(each, "rev"))
            or (hasattr(each, "message") and each.message.conversation_id == chat.id)
        ]
        assert sorted(revs) == list(range(1, (await node.view(chat.client, chat)).rev + 1))
