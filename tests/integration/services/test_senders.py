"""Who wrote without taking part: by name wherever a message is answered or told."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event
from uuid_utils.compat import uuid7

from chatserver.events import MessageDeleted, MessageSent, MessageUpdated
from chatserver.models import Message, Role, SenderRole, User
from chatserver.services.sync import OpenState
from tests.kit.devices import sync_service
from tests.kit.services import Node, principal, running_node


async def everywhere(node: Node, person: Any, chat: Any, message_id: Any) -> list[Message]:
    """A conversation's only message in all places where `person` may read it."""
    opened = {chat.id: OpenState(0, 0)}
    synced = await (await sync_service(node)).sync(person, cursor=None, limit=5, open=opened)
    listed = await node.conversations.list(person, limit=5)
    (item,) = synced.conversations
    found = [
        await node.messages.get(person, message_id),
        *(await node.messages.history(person, chat.id, limit=5)).messages,
        (await node.view(person, chat)).last_message,
        *(view.last_message for view in listed.conversations),
        item.conversation.last_message,
        *(item.changes or ()),
    ]
    return [message for message in found if message is not None]


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ADMIN])
async def test_one_who_takes_no_part_is_named_wherever_the_message_is(
    node: Node, role: Role
) -> None:
    chat, key = await node.add_chat(), uuid7()
    writer = await node.add_user(role, "Ana")
    sent = await node.send(writer, chat, client_msg_id=key)
    repeated = await node.try_send(writer, chat, client_msg_id=key)
    unchanged = await node.messages.edit(writer, sent.id, "hello")
    edited = await node.messages.edit(writer, sent.id, "edited")
    read = await everywhere(node, chat.client, chat, sent.id)
    assert len(read) == 6
    await node.messages.delete(writer, sent.id)
    told = [
        each.message
        for each in node.publisher.events
        if isinstance(each, MessageSent | MessageUpdated | MessageDeleted)
    ]
    assert len(told) == 3
    for message in (sent, repeated.message, unchanged, edited, *read, *told):
        assert message.sender_role == role.value
        assert message.sender == User(writer.user_id, "Ana", None, None)


async def test_a_participant_has_a_role_and_no_name_of_their_own(node: Node) -> None:
    chat = await node.add_chat()
    for person, role in ((chat.client, SenderRole.CLIENT), (chat.owner, SenderRole.OWNER)):
        sent = await node.send(person, chat)
        assert (sent.sender_role, sent.sender) == (role, None)
    for message in await node.all_messages(chat.client, chat):
        assert message.sender is None


async def test_an_admin_who_takes_part_is_the_participant(node: Node) -> None:
    admin = await node.add_user(Role.ADMIN, "Ana")
    chat = await node.add_chat(client=admin)
    sent = await node.send(admin, chat)
    assert (sent.sender_role, sent.sender) == (SenderRole.CLIENT, None)
    assert await everywhere(node, chat.owner, chat, sent.id) == [sent] * 6


async def test_one_who_is_erased_is_an_id_without_names(database_url: str) -> None:
    async with running_node(database_url, auth__user_cache_ttl=0.0) as node:
        chat = await node.add_chat()
        writer = await node.add_user(Role.SERVICE, "Ana")
        message = await node.send(writer, chat)
        await node.sql("DELETE FROM core.users WHERE id = :id", id=writer.user_id)
        nobody = User(writer.user_id, None, None, None)
        read = await everywhere(node, chat.owner, chat, message.id)
        assert [each.sender for each in read] == [nobody] * 6
        later = await node.send(principal(uuid4(), Role.SERVICE), chat)
        assert later.sender is not None
        assert later.sender.first_name is None


async def test_names_are_asked_for_once_and_never_for_participants(node: Node) -> None:
    chat = await node.add_chat()
    writer = await node.add_user(Role.SERVICE, "Ana")
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    engine = node.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    await node.send(chat.client, chat)
    await node.messages.history(chat.owner, chat.id, limit=5)
    assert not [statement for statement in asked if "core.users" in statement]
    for _ in range(3):
        await node.send(writer, chat)
        await node.messages.history(chat.owner, chat.id, limit=5)
    assert len([statement for statement in asked if "core.users" in statement]) == 1
