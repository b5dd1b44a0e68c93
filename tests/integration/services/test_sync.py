"""Sync: whatever happened while a device was away, it is told; and only that."""

import pytest

from chatserver.errors import InvalidPayload, Unavailable
from chatserver.events import UnreadChanged
from chatserver.models import Role
from chatserver.services.sync import OpenState
from tests.kit.devices import Device, device_of, sync_service
from tests.kit.services import Chat, Node, running_node

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


# What changed


async def test_without_a_cursor_every_conversation_of_the_caller_is_answered(
    node: Node, chat: Chat
) -> None:
    chats = await add_chats(node, chat, 3)
    await node.add_chat()
    await node.conversations.archive(chat.owner, chats[1].id)
    device = Device(await sync_service(node), chat.owner)
    assert await device.sync() == [chats[2].id, chats[1].id, chats[0].id, chat.id]
    assert list(device.known.values()) == [
        await node.view(chat.owner, one) for one in (*reversed(chats), chat)
    ]


async def test_a_user_without_conversations_is_told_of_the_first_one(node: Node) -> None:
    owner = await node.add_user(Role.OWNER)
    device = Device(await sync_service(node), owner)
    assert await device.sync() == []
    chat = await node.add_chat(owner=owner)
    assert await device.sync() == [chat.id]


async def test_where_nothing_changed_nothing_is_answered(node: Node, chat: Chat) -> None:
    device = await device_of(node, chat.owner)
    await node.add_chat()
    assert await device.sync() == []


async def test_each_kind_of_change_is_told_to_both(node: Node, chat: Chat) -> None:
    await add_chats(node, chat, 2)
    service = await sync_service(node)
    devices = [Device(service, person) for person in chat.people]
    message = await node.send(chat.client, chat)

    async def told() -> None:
        for device in devices:
            assert await device.sync() == [chat.id]
            assert device.known[chat.id] == await node.view(device.owner, chat)

    for device in devices:
        await device.sync()
    await node.receipts.mark_delivered(chat.owner, chat.id, message.seq)
    await told()
    await node.receipts.mark_read(chat.owner, chat.id, message.seq)
    await told()
    await node.messages.edit(chat.client, message.id, "better")
    await told()
    await node.messages.delete(chat.client, message.id)
    await told()
    await node.conversations.archive(chat.client, chat.id)
    await told()
    await node.send(chat.owner, chat)
    await told()


async def test_the_presence_of_the_peer_is_in_the_answer(node: Node, chat: Chat) -> None:
    await node.presence.connected(chat.client.user_id, "socket")
    device = await device_of(node, chat.owner)
    presence = device.known[chat.id].peer_presence
    assert presence is not None
    assert presence.is_online


async def test_an_answer_knows_the_version_of_the_callers_counters(node: Node, chat: Chat) -> None:
    service = await sync_service(node)
    nobody, owner = Device(service, await node.add_user()), Device(service, chat.owner)
    await node.send(chat.client, chat)
    await node.receipts.mark_read(chat.owner, chat.id, 1)
    (_, told) = node.publisher.of(UnreadChanged)
    assert (await owner.page()).unread_version == told.version
    assert (await owner.page()).unread_version == told.version, "also where nothing changed"
    assert (await nobody.page()).unread_version == 0


# Pages


async def test_pages_bring_each_conversation_once_latest_first(node: Node, chat: Chat) -> None:
    chats = await add_chats(node, chat, 6)
    device = Device(await sync_service(node), chat.owner, limit=3)
    assert await device.sync() == [*(one.id for one in reversed(chats)), chat.id]
    assert await device.sync() == []


async def test_a_full_page_is_not_followed_by_an_empty_one(node: Node, chat: Chat) -> None:
    device = Device(await sync_service(node), chat.owner, limit=1)
    assert not (await device.page()).has_more


async def test_pages_after_a_cursor_bring_what_changed_and_nothing_else(
    node: Node, chat: Chat
) -> None:
    chats = await add_chats(node, chat, 5)
    device = await device_of(node, chat.owner, limit=2)
    for one in chats[:3]:
        await node.send(one.owner, one)
    assert await device.sync() == [one.id for one in reversed(chats[:3])]


async def test_what_changes_during_a_walk_is_in_it(node: Node, chat: Chat) -> None:
    chats = await add_chats(node, chat, 4)
    device = Device(await sync_service(node), chat.owner, limit=2)
    first = await device.page()
    assert [one.conversation.id for one in first.conversations] == [chats[3].id, chats[2].id]
    await node.send(chats[3].owner, chats[3])  # already answered
    await node.send(chats[0].owner, chats[0])  # moves in front of what is answered
    fresh = await node.add_chat(owner=chat.owner)
    ids = await device.sync()
    assert set(ids) == {chat.id, chats[0].id, chats[1].id, chats[3].id, fresh.id}
    for one in (*chats, chat, fresh):
        assert device.known[one.id] == await node.view(chat.owner, one)
    assert await device.sync() == []


async def test_a_cursor_never_expires_in_the_middle_of_a_walk_either(
    node: Node, chat: Chat
) -> None:
    chats = await add_chats(node, chat, 3)
    device = Device(await sync_service(node), chat.owner, limit=1)
    await device.page()
    for one in chats:
        for _ in range(3):
            await node.send(one.client, one)
    await device.sync()
    assert device.revs == {chat.id: 0} | {one.id: 4 for one in chats}


async def test_an_answer_ends_before_it_is_too_large_for_a_socket(node: Node, chat: Chat) -> None:
    chats = await add_chats(node, chat, 4)
    for one in chats:
        await node.send(one.client, one, "x" * 5000)
    device = Device(await sync_service(node, max_answer_bytes=60_000), chat.owner)
    first = await device.page()
    assert len(first.conversations) == 2
    assert first.has_more
    assert await device.sync() == [chats[1].id, chats[0].id, chat.id]


async def test_a_conversation_that_is_too_large_is_answered_alone(node: Node, chat: Chat) -> None:
    await add_chats(node, chat, 2)
    device = Device(await sync_service(node, max_answer_bytes=10), chat.owner)
    assert len((await device.page()).conversations) == 1
    assert len(await device.sync()) == 2


# Failures


async def test_text_that_is_no_cursor_is_invalid(node: Node, chat: Chat) -> None:
    service = await sync_service(node)
    with pytest.raises(InvalidPayload) as caught:
        await service.sync(chat.owner, cursor="abc", limit=1, open={})
    assert caught.value.fields is not None
    assert set(caught.value.fields) == {"cursor"}


async def test_the_cursor_of_another_user_resets(node: Node, chat: Chat) -> None:
    device = await device_of(node, chat.owner)
    device.owner = chat.client
    answer = await device.page({chat.id: NOTHING})
    assert answer.reset
    assert [(one.conversation.id, one.changes) for one in answer.conversations] == [(chat.id, None)]
    assert not (await device.page()).reset


async def test_while_the_database_is_away_sync_is_unavailable(database_url: str) -> None:
    async with running_node(database_url, database__pool_timeout=0.1) as node:
        chat = await node.add_chat()
        service = await sync_service(node)
        held = [
            await node.database.engine.connect() for _ in range(node.settings.database.pool_size)
        ]
        with pytest.raises(Unavailable):
            await service.sync(chat.owner, cursor=None, limit=1, open={})
        for connection in held:
            await connection.close()


async def test_after_a_sync_the_connection_writes_again(database_url: str) -> None:
    async with running_node(database_url, database__pool_size=1) as node:
        chat = await node.add_chat()
        device = await device_of(node, chat.owner)
        await node.conversations.archive(chat.owner, chat.id)
        assert await device.sync() == [chat.id]
        assert await node.value("SHOW transaction_isolation") == "read committed"


async def test_conversations_from_before_a_restore_by_dump_are_not_repeated(
    node: Node, chat: Chat
) -> None:
    """A dump brings the stamps of its own cluster, which may lie in this one's future."""
    (restored,) = await add_chats(node, chat, 1)
    await node.sql(
        "UPDATE chat.conversations SET changed_xid = '99999999999' WHERE id = :id", id=restored.id
    )
    device = Device(await sync_service(node), chat.owner)
    assert set(await device.sync()) == {chat.id, restored.id}
    assert await device.sync() == []
    await node.send(restored.client, restored)
    assert await device.sync() == [restored.id]


async def test_an_answer_tells_how_many_conversations_there_are_to_look_through(
    node: Node,
) -> None:
    chat = await node.add_chat()
    owner = await device_of(node, chat.owner)
    assert (await owner.page()).known == 1, "also where nothing changed"
    assert (await (await device_of(node, await node.add_user())).page()).known == 0
