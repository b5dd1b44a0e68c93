"""A stranger learns nothing from the time that an answer takes: the same statements are run.

Whether a thing is another's or does not exist, the database is asked the same questions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from chatserver.errors import NotFound
from chatserver.models import Principal
from tests.kit.services import Node

Ask = Callable[[Node, Principal, UUID], Awaitable[Any]]

OF_A_CONVERSATION: dict[str, Ask] = {
    "get": lambda node, who, where: node.conversations.get(who, where),
    "join": lambda node, who, where: node.conversations.join(who, where),
    "archive": lambda node, who, where: node.conversations.archive(who, where, archived=True),
    "history": lambda node, who, where: node.messages.history(who, where, limit=10),
    "read": lambda node, who, where: node.receipts.mark_read(who, where, 1),
    "delivered": lambda node, who, where: node.receipts.mark_delivered(who, where, 1),
    "send": lambda node, who, where: node.send(who, where),
}
OF_A_MESSAGE: dict[str, Ask] = {
    "get": lambda node, who, what: node.messages.get(who, what),
    "edit": lambda node, who, what: node.messages.edit(who, what, "changed"),
    "delete": lambda node, who, what: node.messages.delete(who, what),
    "read": lambda node, who, what: node.receipts.mark_message_read(who, what),
}


@asynccontextmanager
async def recorded(node: Node) -> AsyncIterator[list[str]]:
    """The statements that the node runs meanwhile."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    engines = [node.database.engine.sync_engine, node.writer_engine.sync_engine]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def statements_of(node: Node, ask: Ask, stranger: Principal, what: UUID) -> list[str]:
    async with recorded(node) as statements:
        with pytest.raises(NotFound):
            await ask(node, stranger, what)
    return statements


async def test_what_is_anothers_takes_as_long_as_what_does_not_exist(node: Node) -> None:
    chat = await node.add_chat()
    message = await node.send(chat.client, chat)
    stranger = await node.add_user()
    for asks, theirs in ((OF_A_CONVERSATION, chat.id), (OF_A_MESSAGE, message.id)):
        for name, ask in asks.items():
            foreign = await statements_of(node, ask, stranger, theirs)
            unknown = await statements_of(node, ask, stranger, uuid4())
            assert foreign == unknown, name
