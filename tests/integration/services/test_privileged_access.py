"""A log line for each time that `admin` or `service` reads or writes a conversation of others."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from chatserver.errors import Forbidden
from chatserver.models import Principal, Role
from chatserver.services.sync import OpenState
from tests.kit.devices import sync_service
from tests.kit.services import Chat, Node

SECRET = "the text of a message"

Deed = Callable[[Node, Principal, Chat, UUID], Awaitable[Any]]


async def _sync(node: Node, person: Principal, chat: Chat, _: UUID) -> None:
    service = await sync_service(node)
    await service.sync(person, cursor=None, limit=5, open={chat.id: OpenState(0, 0)})


DEEDS: dict[str, Deed] = {
    "get": lambda node, person, chat, _: node.conversations.get(person, chat.id),
    "join": lambda node, person, chat, _: node.conversations.join(person, chat.id),
    "history": lambda node, person, chat, _: node.messages.history(person, chat.id, limit=5),
    "sync": _sync,
    "send": lambda node, person, chat, _: node.send(person, chat, content=SECRET),
    "edit": lambda node, person, _, own: node.messages.edit(person, own, f"{SECRET}, edited"),
    "delete": lambda node, person, _, own: node.messages.delete(person, own),
}


def accesses(logs: Any) -> list[dict[str, Any]]:
    return [record for record in logs if record["event"] == "privileged_access"]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.SERVICE])
async def test_each_says_who_did_what_where_and_no_word_of_it(node: Node, role: Role) -> None:
    chat, visitor = await node.add_chat(), await node.add_user(role)
    own = await node.send(visitor, chat, content=SECRET)
    for action, deed in DEEDS.items():
        with capture_logs() as logs:
            await deed(node, visitor, chat, own.id)
        assert accesses(logs) == [
            {
                "event": "privileged_access",
                "log_level": "info",
                "action": action,
                "conversation_id": str(chat.id),
                "user_id": str(visitor.user_id),
                "role": role,
            }
        ]
        assert SECRET not in repr(logs)


async def test_in_their_own_conversations_they_are_people_like_others(node: Node) -> None:
    admin = await node.add_user(Role.ADMIN)
    chat = await node.add_chat(client=admin)
    for person in (admin, chat.owner):
        own = await node.send(person, chat)
        with capture_logs() as logs:
            for deed in DEEDS.values():
                await deed(node, person, chat, own.id)
        assert accesses(logs) == []


async def test_what_is_refused_is_no_access(node: Node) -> None:
    chat, admin = await node.add_chat(), await node.add_user(Role.ADMIN)
    message = await node.send(chat.client, chat)
    with capture_logs() as logs:
        for action in ("edit", "delete"):
            with pytest.raises(Forbidden):
                await DEEDS[action](node, admin, chat, message.id)
    assert accesses(logs) == []
