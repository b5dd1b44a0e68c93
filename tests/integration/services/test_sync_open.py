"""Sync of the conversations that a client has open: what changed in them, message by message."""

import asyncio
from uuid import uuid4

import pytest

from chatserver.models import MessageStatus, Role
from chatserver.services.sync import OpenState
from tests.kit.devices import Device, device_of, sync_service
from tests.kit.services import Chat, Node

NOTHING = OpenState(0, 0)


@pytest.fixture
async def chat(node: Node) -> Chat:
    return await node.add_chat()


async def add_chats(node: Node, chat: Chat, count: int) -> list[Chat]:
    """More conversations of the same owner, each with a message; the last is the latest."""
    chats = [await node.add_chat(owner=chat.owner) for _ in range(count)]
    for one in chats:
        await node.send(one.client, one)
    return chats


async def state(node: Node, chat: Chat) -> OpenState:
    view = await node.view(chat.owner, chat)
    return OpenState(view.last_seq, view.rev)


async def test_an_open_conversation_brings_what_is_new_edited_and_deleted(
    node: Node, chat: Chat
) -> None:
    first, second, *_ = [await node.send(chat.client, chat, f"{n}") for n in range(4)]
    held = await state(node, chat)
    device = await device_of(node, chat.owner)
    await node.messages.edit(chat.client, first.id, "edited")
    await node.messages.edit(chat.client, first.id, "edited twice")
    await node.messages.delete(chat.client, second.id)
    fresh = await node.send(chat.client, chat, "new")
    await node.messages.edit(chat.client, fresh.id, "new and edited")
    assert await device.sync({chat.id: held}) == [chat.id]
    (told,) = device.told
    assert not told.limited
    everything = await node.all_messages(chat.owner, chat)
    assert told.changes == [everything[0], everything[1], everything[4]]


async def test_an_edit_alone_is_a_change(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat)
    held = await state(node, chat)
    device = await device_of(node, chat.owner)
    edited = await node.messages.edit(chat.client, message.id, "edited")
    await device.sync({chat.id: held})
    assert device.told[0].changes == [edited]


async def test_who_knows_the_rev_but_not_the_messages_gets_them(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat)
    device = await device_of(node, chat.owner)
    await device.sync({chat.id: OpenState(0, message.rev)})
    assert device.told[0].changes == [message]


async def test_changes_carry_the_receipts_as_they_are_now(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat)
    await node.receipts.mark_read(chat.owner, chat.id, message.seq)
    device = await device_of(node, chat.owner)
    await device.sync({chat.id: NOTHING})
    assert device.told[0].changes is not None
    assert [one.status for one in device.told[0].changes] == [MessageStatus.READ]


async def test_only_a_receipt_is_a_change_without_messages(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat)
    held = await state(node, chat)
    device = await device_of(node, chat.owner)
    await node.receipts.mark_read(chat.owner, chat.id, message.seq)
    await device.sync({chat.id: held})
    assert device.told[0].changes == []
    assert not device.told[0].limited
    assert device.told[0].conversation.read_seq == message.seq


async def test_an_open_conversation_is_answered_even_unchanged_and_only_once(
    node: Node, chat: Chat
) -> None:
    (other,) = await add_chats(node, chat, 1)
    opened = {chat.id: await state(node, chat), other.id: await state(node, other)}
    device = await device_of(node, chat.owner)
    assert sorted(await device.sync(opened)) == sorted([chat.id, other.id])
    assert [(one.changes, one.limited) for one in device.told] == [([], False)] * 2
    await node.send(other.owner, other)
    assert await device.sync(opened) == [other.id, chat.id]


async def test_a_conversation_that_is_not_open_comes_without_changes(
    node: Node, chat: Chat
) -> None:
    device = await device_of(node, chat.owner)
    await node.send(chat.client, chat)
    await device.sync()
    assert device.told[0].changes is None


async def test_what_the_caller_may_not_see_is_left_out_as_if_it_did_not_exist(
    node: Node, chat: Chat
) -> None:
    foreign = await node.add_chat()
    await node.send(foreign.client, foreign)
    device = await device_of(node, chat.owner)
    assert await device.sync({foreign.id: NOTHING, uuid4(): NOTHING}) == []


async def test_an_administrator_may_open_any_conversation_but_syncs_only_their_own(
    node: Node, chat: Chat
) -> None:
    message = await node.send(chat.client, chat)
    device = Device(await sync_service(node), await node.add_user(Role.ADMIN))
    assert await device.sync() == []
    assert await device.sync({chat.id: NOTHING}) == [chat.id]
    assert device.told[0].changes == [message]


async def test_of_more_than_a_hundred_changes_the_newest_hundred_come(
    node: Node, chat: Chat
) -> None:
    async def send(count: int) -> None:
        await asyncio.gather(*(node.send(chat.client, chat) for _ in range(count)))

    device = await device_of(node, chat.owner)
    await send(100)
    await device.sync({chat.id: NOTHING})
    assert not device.told[0].limited
    await send(3)
    await device.sync({chat.id: NOTHING})
    assert device.told[0].limited
    assert device.told[0].changes is not None
    assert [message.seq for message in device.told[0].changes] == list(range(4, 104))


async def test_changes_that_are_too_large_are_limited(node: Node, chat: Chat) -> None:
    (other,) = await add_chats(node, chat, 1)
    for one in (chat, other):
        for _ in range(3):
            await node.send(one.client, one, "é" * 5000)
    device = Device(await sync_service(node, max_answer_bytes=100_000), chat.owner)
    await device.sync({chat.id: NOTHING, other.id: NOTHING})
    told = {one.conversation.id: one for one in device.told}
    assert sum(len(one.changes or ()) for one in told.values()) == 2
    assert all(one.limited for one in told.values())


async def test_open_conversations_that_found_no_room_are_asked_for_again(
    node: Node, chat: Chat
) -> None:
    chats = [chat, *await add_chats(node, chat, 3)]
    for one in chats:
        await node.send(one.client, one, "x" * 5000)
    device = await device_of(node, chat.owner)
    device.service = await sync_service(node, max_answer_bytes=60_000)
    waiting = {one.id for one in chats}
    answers = 0
    has_more = True
    while has_more:
        answer = await device.page(dict.fromkeys(waiting, NOTHING))
        waiting -= {one.conversation.id for one in answer.conversations if one.changes is not None}
        has_more = answer.has_more
        answers += 1
    assert not waiting
    assert answers == 2


async def test_an_answer_agrees_with_itself_while_messages_come_in(node: Node, chat: Chat) -> None:
    async def send() -> None:
        for _ in range(60):
            await node.send(chat.client, chat)

    device = await device_of(node, chat.owner)
    sending = asyncio.create_task(send())
    while not sending.done():
        await device.sync({chat.id: NOTHING})
        (told,) = device.told
        view, changes = told.conversation, told.changes
        assert changes is not None
        assert [message.seq for message in changes] == list(range(1, view.last_seq + 1))
        assert view.last_message == (changes[-1] if changes else None)
        assert view.unread_count == view.rev == len(changes)
    await sending
