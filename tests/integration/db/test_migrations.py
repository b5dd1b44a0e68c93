"""Migrations: on every kind of database, forth and back, and twice at once."""

import asyncio
import sys
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import ForeignKeyViolationError
from sqlalchemy import text

from chatserver.db import migrations
from chatserver.db.engine import create_engine
from chatserver.models import MemberRole, MessageType, Role, User
from tests.kit.recount import find_faults
from tests.kit.services import connected, principal, running_node

HEAD = "0011"

TABLES = {
    "alembic_version",
    "conversation_changes",
    "conversations",
    "cut_off_nodes",
    "keys",
    "message_edits",
    "message_keys",
    "messages",
    "messages_default",
    "nodes",
    "participants",
    "promises",
    "push_notifications",
    "receipts",
    "revocations",
    "standing_agents",
    "unread_totals",
    "user_presence",
}


async def run(url: str, *scripts: str) -> None:
    async with connected(url) as connection:
        for script in scripts:
            await connection.execute(script)


async def names(url: str, query: str) -> set[Any]:
    async with connected(url) as connection:
        return {row[0] for row in await connection.fetch(query)}


async def tables(url: str, schema: str) -> set[str]:
    found = await names(url, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    return {name for name in found if not name.startswith("messages_2")}


async def test_an_empty_database_gets_everything_and_may_be_upgraded_twice(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    engine = create_engine(url, pool_size=1)
    assert not await migrations.is_current(engine)
    for _ in range(2):
        await migrations.upgrade(url)
        assert await tables(url, "chat") == TABLES
        assert await tables(url, "core") == {"users", "listings"}
    assert await migrations.is_current(engine)
    await engine.dispose()


async def test_a_downgrade_takes_away_what_the_upgrade_made(empty_database_url: str) -> None:
    url = empty_database_url
    for _ in range(2):
        await migrations.upgrade(url)
        await migrations.downgrade(url, "base")
        assert await tables(url, "chat") == {"alembic_version"}
        assert await tables(url, "core") == set()
        left = "SELECT count(*) FROM {} WHERE {} = 'chat'::regnamespace AND {} !~ 'alembic'"
        for catalog, schema, name in (
            ("pg_proc", "pronamespace", "proname"),
            ("pg_class", "relnamespace", "relname"),
            ("pg_type", "typnamespace", "typname"),
        ):
            assert await names(url, left.format(catalog, schema, name)) == {0}, catalog
    engine = create_engine(url, pool_size=1)
    assert not await migrations.is_current(engine)
    await engine.dispose()


async def test_a_downgrade_gives_the_keys_to_the_users_back(empty_database_url: str) -> None:
    url = empty_database_url
    await migrations.upgrade(url)
    await migrations.downgrade(url, "0007")
    async with connected(url) as connection:
        with pytest.raises(ForeignKeyViolationError):
            await connection.execute("INSERT INTO chat.unread_totals VALUES (gen_random_uuid())")
    await migrations.upgrade(url)


async def test_a_database_of_a_newer_server_counts_as_current(database_url: str) -> None:
    await run(database_url, "UPDATE chat.alembic_version SET version_num = 'from_the_future'")
    engine = create_engine(database_url, pool_size=1)
    assert await migrations.is_current(engine)
    await engine.dispose()


async def test_two_migrators_at_once_do_the_work_once(empty_database_url: str) -> None:
    """Two processes: within one, alembic can only do one thing at a time."""
    url = empty_database_url
    program = (
        "import asyncio; from chatserver.db import migrations;"
        f"asyncio.run(migrations.upgrade({url!r}))"
    )
    both = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(2)]
    assert [await each.wait() for each in both] == [0, 0]
    assert await tables(url, "chat") == TABLES
    assert await names(url, "SELECT version_num FROM chat.alembic_version") == {HEAD}


async def test_a_migrator_may_wait_for_another_longer_than_a_statement_of_the_server(
    database_url: str,
) -> None:
    engine = migrations.create_migration_engine(database_url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SHOW statement_timeout"))).scalar() == "1h"
    await engine.dispose()


async def test_the_functions_and_the_view_of_the_seed_are_right_for_both_viewers(
    database_url: str,
) -> None:
    async with running_node(database_url) as node:
        chat = await node.add_chat()
        second = await node.add_chat(owner=chat.owner)
        for number in range(5):
            await node.send(chat.client, chat, f"c{number}")
        for number in range(3):
            await node.send(chat.owner, chat, f"o{number}")
        await node.send(second.client, second, "from another")
        await node.receipts.mark_read(chat.owner, chat.id, 2)
        last = (await node.all_messages(chat.client, chat))[-1]
        await node.messages.delete(chat.owner, last.id)

        async def unread(user_id: UUID, *conversation: UUID) -> Any:
            arguments = ", ".join(f"'{each}'" for each in (user_id, *conversation))
            return await node.value(f"SELECT chat.get_unread_count({arguments})")

        assert await unread(chat.owner.user_id, chat.id) == 3
        assert await unread(chat.client.user_id, chat.id) == 2
        assert await unread(chat.owner.user_id) == 4
        assert await unread(chat.client.user_id) == 2
        assert await unread(second.client.user_id) == 0
        assert await unread(uuid4()) == 0
        assert await unread(second.client.user_id, chat.id) == 0
        rows = await node.sql("SELECT * FROM chat.conversations_with_last_message")
        (row,) = [row for row in rows if row.id == chat.id]
        assert row.last_message_content == "o1"
        assert row.last_message_sender_id == chat.owner.user_id
        assert row.last_message_type == MessageType.TEXT
        assert row.unread_count == 5
        assert row.last_message_created_at < row.last_message_at
        assert (row.listing_title, row.client_first_name) == ("A flat", "Tenant")


async def test_messages_from_before_senders_had_roles_get_them(database_url: str) -> None:
    """And those that a node of the version before stores beside the new ones have theirs."""
    async with running_node(database_url) as node:
        chat = await node.add_chat()
        admin = await node.add_user(Role.ADMIN, "Ana")
        for person in (chat.client, chat.owner, admin):
            await node.send(person, chat)
        await node.sql("UPDATE chat.messages SET sender_role = NULL")
        before = await node.all_messages(chat.owner, chat)
        await migrations.downgrade(database_url, "0005")
        await migrations.upgrade(database_url)
        rows = await node.sql("SELECT sender_role FROM chat.messages ORDER BY seq")
        assert [row.sender_role for row in rows] == ["client", "owner", "service"]
        assert await node.all_messages(chat.owner, chat) == before
        assert [message.sender_role for message in before] == ["client", "owner", "service"]
        assert before[-1].sender == User(admin.user_id, "Ana", None, None)


async def test_conversations_from_before_members_get_their_two(database_url: str) -> None:
    """Those that there are, and what a node of the version before opens and sends meanwhile."""
    async with running_node(database_url) as node:
        chat, empty = await node.add_chat(), await node.add_chat()
        await node.send(chat.client, chat)
        agent, host = await node.add_user(Role.AGENT), principal(uuid4(), Role.SERVICE)
        await node.members.put(host, chat.id, agent.user_id, MemberRole.AGENT)
        await node.send(agent, chat, "from the agent")
        before = [await node.view(each.client, each) for each in (chat, empty)]
        await migrations.downgrade(database_url, "0009")
        await migrations.upgrade(database_url, "0010")
        opened = uuid4()
        await node.sql(
            "INSERT INTO chat.conversations (id, client_user_id, owner_user_id)"
            " VALUES (:id, :client, :owner)",
            id=opened, client=chat.client.user_id, owner=chat.owner.user_id,
        )  # fmt: skip
        await node.sql(
            "INSERT INTO chat.participants (conversation_id, user_id, role)"
            " VALUES (:id, :client, 'client'), (:id, :owner, 'owner')",
            id=opened, client=chat.client.user_id, owner=chat.owner.user_id,
        )  # fmt: skip
        # The day changes, as with a first message, and back.
        for at in ("created_at + interval '2 days'", "NULL"):
            await node.sql(
                f"UPDATE chat.conversations SET last_message_at = {at} WHERE id = :id",
                id=empty.id,
            )
        await migrations.upgrade(database_url)
        faults = await find_faults(node.database)
        # The change that added the agent went with its table.
        faults.pop("two changes have one rev, or rev has a gap")
        assert faults == {}
        for each, seen in zip((chat, empty), before, strict=True):
            view = await node.view(each.client, each)
            assert [one.role for one in view.participants] == ["client", "owner"]
            assert view.participants[0].joined_at == view.created_at == seen.created_at
        assert (await node.all_messages(chat.client, chat))[-1].sender_role == "service"


async def test_a_conversation_without_messages_is_in_the_view(database_url: str) -> None:
    async with running_node(database_url) as node:
        chat = await node.add_chat()
        (row,) = await node.sql("SELECT * FROM chat.conversations_with_last_message")
    assert (row.id, row.last_message_id, row.unread_count) == (chat.id, None, 0)


async def test_a_conversation_that_is_deleted_leaves_the_totals_right(database_url: str) -> None:
    async with running_node(database_url) as node:
        chat = await node.add_chat()
        kept = await node.add_chat(owner=chat.owner)
        for each in (chat, kept):
            await node.send(each.client, each)
        assert await node.receipts.unread_total(chat.owner) == 2
        await node.sql("DELETE FROM chat.conversations WHERE id = :id", id=chat.id)
        assert await node.receipts.unread_total(chat.owner) == 1
        assert await node.value("SELECT count(*) FROM chat.messages") == 1
        assert await node.value("SELECT count(*) FROM chat.message_keys") == 0
        assert await node.add_user(Role.CLIENT)
