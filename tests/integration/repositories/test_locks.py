"""Rows that somebody else holds: which messages of a batch need them."""

import asyncio

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from chatserver.repositories.locks import list_locked
from tests.integration.repositories.test_appends import new
from tests.kit.services import Node, connected
from tests.kit.stalls import PATIENCE


@pytest.mark.parametrize("table", ["conversations", "participants", "unread_totals"])
async def test_messages_for_which_a_row_is_locked_are_told_from_others(
    node: Node, connection: asyncpg.Connection, database_url: str, table: str
) -> None:
    held, free = await node.add_chat(), await node.add_chat()
    key, value = {
        "conversations": ("id", held.id),
        "participants": ("user_id", held.owner.user_id),
        "unread_totals": ("user_id", held.owner.user_id),
    }[table]
    to_owner, to_client, elsewhere, nowhere = batch = [
        new(held, held.client),
        new(held, held.owner),
        new(free, free.client),
        new(uuid7(), held.client),
    ]
    async with connected(database_url) as holder:
        await holder.execute("BEGIN")
        await holder.execute(f"SELECT FROM chat.{table} WHERE {key} = $1 FOR NO KEY UPDATE", value)
        async with asyncio.timeout(PATIENCE):
            found = await list_locked(connection, batch)
        assert found - {to_client.id} == {to_owner.id}
        # Whoever sends needs no counter of their own.
        assert (to_client.id in found) == (table == "conversations")
        assert await list_locked(connection, [elsewhere, nowhere]) == set()
        await holder.execute("ROLLBACK")
    assert await list_locked(connection, batch) == set()


async def test_the_first_message_of_a_day_needs_everybodys_row(
    node: Node, connection: asyncpg.Connection, database_url: str
) -> None:
    """It gives all of them the new day, the sender's own and that of who has left, too."""
    chat, free = await node.add_chat(), await node.add_chat()
    batch = [new(chat, chat.client), new(free, free.client)]
    async with connected(database_url) as holder:
        await holder.execute(
            "UPDATE chat.conversations SET created_at = created_at - interval '2 days'"
            " WHERE id = $1",
            chat.id,
        )
        await holder.execute("BEGIN")
        await holder.execute(
            "SELECT FROM chat.participants WHERE user_id = $1 FOR NO KEY UPDATE",
            chat.client.user_id,
        )
        async with asyncio.timeout(PATIENCE):
            assert await list_locked(connection, batch) == {batch[0].id}
        await holder.execute("ROLLBACK")
