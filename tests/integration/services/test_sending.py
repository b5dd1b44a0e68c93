"""Sending: one order for all, whoever repeats, crowds or tries what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from chatserver.backplane import memory
from chatserver.errors import (
    ChatError,
    Forbidden,
    IdempotencyConflict,
    InvalidPayload,
    NotFound,
    RateLimited,
)
from chatserver.events import (
    MessageSent,
    UnreadChanged,
)
from chatserver.models import MessageStatus, MessageType, Role
from tests.integration.conftest import MEDIA
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, running_node


@pytest.fixture
async def chat(node: Node) -> Chat:
    chat = await node.add_chat()
    node.publisher.clear()
    return chat


async def test_a_message_is_stored_and_told_to_both(node: Node, chat: Chat) -> None:
    before = datetime.now(UTC)
    message = await node.send(chat.client, chat, "  still free?  ")
    assert (message.content, message.seq, message.rev) == ("still free?", 1, 1)
    assert (message.sender_id, message.status) == (chat.client.user_id, MessageStatus.SENT)
    assert before - timedelta(seconds=1) < message.created_at == message.updated_at
    assert await node.messages.get(chat.owner, message.id) == message
    (event,) = node.publisher.of(MessageSent)
    assert event.message == message
    assert event.member_ids == (chat.client.user_id, chat.owner.user_id)
    (unread,) = node.publisher.of(UnreadChanged)
    assert (unread.user_id, unread.unread_count) == (chat.owner.user_id, 1)


async def test_fifty_repeats_at_once_over_two_nodes_are_one_message(
    node: Node, other_node: Node, chat: Chat
) -> None:
    key = uuid7()
    sent = await asyncio.gather(
        *(
            (node, other_node)[n % 2].try_send(chat.client, chat, "once", client_msg_id=key)
            for n in range(50)
        )
    )
    assert len({each.message.id for each in sent}) == 1
    assert [each.is_duplicate for each in sent].count(False) == 1
    assert {(each.message.seq, each.message.content) for each in sent} == {(1, "once")}
    assert len(node.publisher.of(MessageSent) + other_node.publisher.of(MessageSent)) == 1
    assert await find_faults(node.database) == {}


async def test_a_repeat_answers_the_first_message_as_it_is_now(node: Node, chat: Chat) -> None:
    key = uuid7()
    first = await node.send(chat.client, chat, "first", client_msg_id=key)
    await node.receipts.mark_read(chat.owner, chat.id, 1)
    await node.messages.edit(chat.client, first.id, "edited")
    again = await node.try_send(chat.client, chat, "first", client_msg_id=key)
    assert again.is_duplicate
    assert (again.message.id, again.message.content) == (first.id, "edited")
    assert again.message.status is MessageStatus.READ


@pytest.mark.parametrize(
    "change",
    [
        {"content": "other"},
        {"reply_to_seq": 1},
        {"message_type": MessageType.IMAGE, "media_url": MEDIA + "a.jpg"},
    ],
)
async def test_another_body_under_the_same_key_conflicts(
    node: Node, chat: Chat, change: dict[str, Any]
) -> None:
    key = uuid7()
    await node.send(chat.client, chat, client_msg_id=key)
    body: dict[str, Any] = {"content": "hello", "client_msg_id": key, **change}
    with pytest.raises(IdempotencyConflict):
        await node.try_send(chat.client, chat, **body)
    assert (await node.view(chat.client, chat)).last_seq == 1


async def test_a_key_is_the_senders_and_the_conversations_own(node: Node, chat: Chat) -> None:
    key = uuid7()
    second = await node.add_chat(chat.client, chat.owner)
    for where, who in ((chat, chat.client), (chat, chat.owner), (second, chat.client)):
        sent = await node.try_send(who, where, f"by {who.user_id}", client_msg_id=key)
        assert not sent.is_duplicate


async def test_the_same_body_means_after_cleaning(node: Node, chat: Chat) -> None:
    key = uuid7()
    await node.send(chat.client, chat, "caf\u00e9", client_msg_id=key)
    again = await node.try_send(chat.client, chat, " cafe\u0301\n", client_msg_id=key)
    assert again.is_duplicate


async def test_five_hundred_sends_from_both_sides_have_one_order_for_all(
    node: Node, other_node: Node, chat: Chat
) -> None:
    messages = await asyncio.gather(
        *((node, other_node)[n % 3 == 0].send(chat.people[n % 2], chat, str(n)) for n in range(500))
    )
    assert sorted(each.seq for each in messages) == list(range(1, 501))
    by_client = await node.all_messages(chat.client, chat)
    by_owner = await other_node.all_messages(chat.owner, chat)
    assert by_client == by_owner
    assert [each.seq for each in by_client] == list(range(1, 501))
    assert all(a.created_at < b.created_at for a, b in pairwise(by_client))
    assert {each.id: each.content for each in by_client} == {m.id: m.content for m in messages}
    for each in (node, other_node):
        told = [event.message.seq for event in each.publisher.of(MessageSent)]
        assert told == sorted(told)
    assert await node.receipts.unread_total(chat.client) == 250
    assert await node.receipts.unread_total(chat.owner) == 250
    assert await find_faults(node.database) == {}


async def test_a_send_that_begins_after_another_was_acknowledged_has_a_greater_number(
    node: Node, other_node: Node, chat: Chat
) -> None:
    seqs = [(await (node, other_node)[n % 2].send(chat.people[n % 2], chat)).seq for n in range(10)]
    assert seqs == list(range(1, 11))


async def test_a_new_message_brings_an_archived_conversation_back_for_both(
    node: Node, chat: Chat
) -> None:
    for person in chat.people:
        await node.conversations.archive(person, chat.id)
    await node.send(chat.client, chat)
    view = await node.view(chat.owner, chat)
    assert not view.archived_by_client
    assert not view.archived_by_owner
    listed = await node.conversations.list(chat.client, limit=5)
    assert [each.id for each in listed.conversations] == [chat.id]


async def test_nobody_else_can_send_and_a_closed_conversation_takes_nothing(
    node: Node, chat: Chat
) -> None:
    stranger = await node.add_user()
    for where in (chat.id, uuid4()):
        with pytest.raises(NotFound):
            await node.send(stranger, where)
    await node.sql("UPDATE chat.conversations SET is_active = false WHERE id = :id", id=chat.id)
    with pytest.raises(Forbidden):
        await node.send(chat.client, chat)
    assert node.publisher.events == []


async def test_the_host_application_can_send_anywhere_and_system_messages_alone(
    node: Node, chat: Chat
) -> None:
    for role in (Role.SERVICE, Role.ADMIN):
        host = await node.add_user(role)
        message = await node.send(host, chat, "signed", message_type=MessageType.SYSTEM)
        assert message.message_type is MessageType.SYSTEM
    for role in (Role.CLIENT, Role.OWNER, Role.AGENT):
        person = await node.add_user(role)
        with pytest.raises(Forbidden):
            await node.send(person, chat, "signed", message_type=MessageType.SYSTEM)
    assert await node.receipts.unread_total(chat.client) == 2
    assert await node.receipts.unread_total(chat.owner) == 2
    message = await node.messages.get(chat.client, message.id)
    assert message.status is MessageStatus.SENT
    # Either side is enough.
    await node.receipts.mark_read(chat.client, chat.id, 2)
    assert (await node.messages.get(chat.client, message.id)).status is MessageStatus.READ


async def test_a_reply_names_a_message_that_is_there(node: Node, chat: Chat) -> None:
    await node.send(chat.client, chat)
    assert (await node.send(chat.owner, chat, reply_to_seq=1)).reply_to_seq == 1
    for seq in (0, -1, 3, 2**53, 2**62):
        with pytest.raises(InvalidPayload) as caught:
            await node.send(chat.owner, chat, reply_to_seq=seq)
        assert list(caught.value.fields or ()) == ["reply_to_seq"]


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": " \u200b"}, "content"),
        ({"content": "x" * 5001}, "content"),
        ({"content": "nul \x00"}, "content"),
        ({"message_type": MessageType.IMAGE}, "media_url"),
        ({"message_type": MessageType.DOCUMENT, "media_url": "https://evil.org/a"}, "media_url"),
        ({"message_type": MessageType.IMAGE, "media_url": MEDIA + "\x00"}, "media_url"),
        ({"message_type": MessageType.IMAGE, "media_url": MEDIA + "\ud800"}, "media_url"),
        ({"message_type": MessageType.IMAGE, "media_url": MEDIA + "a\nb"}, "media_url"),
        ({"media_url": MEDIA + "a.jpg"}, "media_url"),
        ({"attachment_id": uuid4()}, "attachment_id"),
    ],
)
async def test_what_cannot_be_stored_names_its_field(
    node: Node, chat: Chat, parts: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        await node.send(chat.client, chat, **parts)
    assert list(caught.value.fields or ()) == [field]
    assert (await node.view(chat.client, chat)).last_seq == 0


async def test_a_medium_may_come_without_text(node: Node, chat: Chat) -> None:
    image = await node.send(
        chat.client, chat, "", message_type=MessageType.IMAGE, media_url=MEDIA + "b/../a.jpg"
    )
    assert (image.content, image.media_url) == ("", MEDIA + "a.jpg")
    assert await node.messages.get(chat.owner, image.id) == image


async def test_a_refusal_is_a_new_exception_each_time(node: Node, chat: Chat) -> None:
    """One that is raised again and again keeps the traceback of every time."""

    async def refused() -> ChatError:
        with pytest.raises(NotFound) as caught:
            await node.send(chat.client, uuid4())
        return caught.value

    assert await refused() is not await refused()


async def test_messages_over_the_limit_are_refused_until_the_window_slides(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now))
    async with running_node(database_url, rate_limit__messages="3/second") as node:
        chat = await node.add_chat()
        second = await node.add_chat(chat.client)
        for where in (chat, second, chat):
            message = await node.send(chat.client, where)
        for action in (
            node.send(chat.client, second),
            node.messages.edit(chat.client, message.id, "edited"),
        ):
            with pytest.raises(RateLimited) as caught:
                await action
            assert 0 < (caught.value.retry_after or 0) <= 1
        views = [await node.view(chat.client, each) for each in (chat, second)]
        assert [view.last_seq for view in views] == [2, 1]
        await node.send(chat.owner, chat)
        await node.messages.delete(chat.client, message.id)
        host = await node.add_user(Role.SERVICE)
        for _ in range(5):
            await node.send(host, chat)
        now += caught.value.retry_after or 0
        await node.send(chat.client, chat)
