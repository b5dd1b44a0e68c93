"""Beside a host application: its tables, rows, columns, locks and role."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from chatserver.app import StartError
from chatserver.db import migrations
from chatserver.db.engine import create_engine, is_lock_conflict
from chatserver.db.host import HostTables
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.models import Listing
from tests.kit.app import running_server
from tests.kit.services import Node, connected, principal, running_node, until_someone_waits
from tests.kit.stalls import PATIENCE

FULL_HOST = """
CREATE SCHEMA core;
CREATE TABLE core.users (
    id uuid PRIMARY KEY, email text UNIQUE, first_name varchar(20), last_name text,
    profile_picture_url text, password_hash text NOT NULL, created_at timestamptz DEFAULT now()
);
CREATE TABLE core.listings (
    id uuid PRIMARY KEY, owner_user_id uuid REFERENCES core.users (id), title text,
    price integer, currency char(3), square_metres int
);
"""

BARE_HOST = """
CREATE SCHEMA core;
CREATE TABLE core.users (id uuid PRIMARY KEY);
CREATE TABLE core.listings (id uuid PRIMARY KEY, owner_user_id uuid);
"""

OWNER, CLIENT, LISTING = UUID(int=1), UUID(int=2), UUID(int=3)


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


async def host_with_rows(url: str, host: str) -> None:
    has_names = "first_name" in host
    users = "(id, first_name, password_hash)" if has_names else "(id)"
    rest = ", 'Ana', 'secret'" if has_names else ""
    await run(
        url,
        host,
        f"INSERT INTO core.users {users} VALUES ('{OWNER}'{rest}), ('{CLIENT}'{rest})",
        f"INSERT INTO core.listings (id, owner_user_id) VALUES ('{LISTING}', '{OWNER}')",
    )
    if has_names:
        await run(url, "UPDATE core.listings SET title = 'Loft', price = 900, currency = 'EUR'")


async def chat_about(node: Node, listing_id: UUID = LISTING) -> UUID:
    conversation, _ = await node.conversations.open(principal(CLIENT), listing_id)
    await node.send(principal(CLIENT), conversation.id, "still free?")
    return conversation.id


@pytest.mark.parametrize("host", [FULL_HOST, BARE_HOST], ids=["full", "bare"])
async def test_the_hosts_tables_and_rows_survive_upgrade_and_downgrade(
    empty_database_url: str, host: str
) -> None:
    url = empty_database_url
    await host_with_rows(url, host)
    before = await columns(url)
    await migrations.upgrade(url)
    async with running_node(url) as node:
        await chat_about(node)
    await migrations.downgrade(url, "base")
    assert await names(url, "SELECT id FROM core.users") == {OWNER, CLIENT}
    assert await names(url, "SELECT id FROM core.listings") == {LISTING}
    assert await columns(url) == before


async def columns(url: str) -> set[str]:
    return await names(
        url,
        "SELECT concat(table_name, '.', column_name, ' ', data_type)"
        " FROM information_schema.columns WHERE table_schema = 'core'",
    )


async def test_only_the_table_that_was_missing_is_made_and_taken_away(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    await run(url, "CREATE SCHEMA core", "CREATE TABLE core.users (id uuid PRIMARY KEY)")
    await migrations.upgrade(url)
    assert await tables(url, "core") == {"users", "listings"}
    await migrations.downgrade(url, "base")
    assert await tables(url, "core") == {"users"}


async def test_the_server_and_the_view_show_what_the_host_has(empty_database_url: str) -> None:
    await host_with_rows(empty_database_url, FULL_HOST)
    await migrations.upgrade(empty_database_url)
    async with running_node(empty_database_url) as node:
        view = await node.conversations.get(principal(CLIENT), await chat_about(node))
        (row,) = await node.sql("SELECT * FROM chat.conversations_with_last_message")
    assert (view.client.first_name, view.client.last_name) == ("Ana", None)
    assert view.listing == Listing(LISTING, "Loft", Decimal(900), "EUR")
    assert (row.client_first_name, row.owner_first_name) == ("Ana", "Ana")
    assert (row.listing_title, row.listing_price, row.listing_currency) == ("Loft", 900, "EUR")


async def test_what_the_host_lacks_is_shown_as_null(empty_database_url: str) -> None:
    await host_with_rows(empty_database_url, BARE_HOST)
    await migrations.upgrade(empty_database_url)
    async with running_node(empty_database_url) as node:
        conversation_id = await chat_about(node)
        view = await node.conversations.get(principal(CLIENT), conversation_id)
        listed = (await node.conversations.list(principal(OWNER), limit=5)).conversations
        (row,) = await node.sql("SELECT * FROM chat.conversations_with_last_message")
    assert (view.client.first_name, view.owner.profile_picture_url) == (None, None)
    assert (view.listing.id, view.listing.title, view.listing.price) == (LISTING, None, None)
    assert [each.id for each in listed] == [conversation_id]
    assert (row.listing_title, row.client_first_name, row.owner_profile_picture) == (None,) * 3
    assert row.last_message_content == "still free?"


async def test_the_host_tables_that_the_server_asks_for_are_those_it_finds(
    empty_database_url: str,
) -> None:
    await run(empty_database_url, BARE_HOST)
    engine = create_engine(empty_database_url, pool_size=1)
    async with engine.connect() as connection:
        host = await HostTables.inspect(connection)
    await engine.dispose()
    assert host.users == {"id"}
    assert host.listings == {"id", "owner_user_id"}


@pytest.mark.parametrize(
    ("users", "listings", "message"),
    [
        ("(name text)", "(id uuid, owner_user_id uuid)", r"core\.users has no column id"),
        (
            "(id uuid PRIMARY KEY)",
            "(title text)",
            r"core\.listings has no column id, owner_user_id",
        ),
    ],
)
async def test_a_host_table_without_a_required_column_is_named(
    empty_database_url: str, users: str, listings: str, message: str
) -> None:
    url = empty_database_url
    await run(
        url,
        "CREATE SCHEMA core",
        f"CREATE TABLE core.users {users}",
        f"CREATE TABLE core.listings {listings}",
    )
    with pytest.raises(RuntimeError, match=message):
        await migrations.upgrade(url)
    assert await tables(url, "chat") <= {"alembic_version"}


async def test_a_long_lock_of_the_host_delays_the_migration_and_not_the_host(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    await host_with_rows(url, BARE_HOST)
    async with connected(url) as busy, connected(url) as other:
        transaction = busy.transaction()
        await transaction.start()
        await busy.execute("UPDATE core.users SET id = id")
        upgrade = asyncio.create_task(migrations.upgrade(url))
        try:
            await until_someone_waits(other)
            # Queues behind the migration, which queues behind `busy`: it must not wait for that.
            async with asyncio.timeout(PATIENCE):
                await other.execute("INSERT INTO core.users VALUES (gen_random_uuid())")
            assert not upgrade.done()
            await transaction.rollback()
        finally:
            await upgrade
    assert "conversations" in await tables(url, "chat")


async def test_a_lock_that_never_ends_fails_the_migration_and_leaves_nothing(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    await host_with_rows(url, BARE_HOST)
    async with connected(url) as busy:
        await busy.execute("BEGIN; UPDATE core.users SET id = id")
        with pytest.raises((DBAPIError, asyncpg.LockNotAvailableError)) as caught:
            await migrations.upgrade(url, attempts=1)
        assert is_lock_conflict(caught.value)
    assert await tables(url, "chat") <= {"alembic_version"}
    await migrations.upgrade(url)


async def test_the_hosts_role_may_read_and_write_and_reaches_every_partition(
    empty_database_url: str, postgres_server: EmbeddedPostgres
) -> None:
    url = empty_database_url
    async with connected(postgres_server.url("postgres")) as admin:
        await admin.execute("CREATE ROLE app_user LOGIN")
        try:
            await migrations.upgrade(url)
            await as_app_user(url)
        finally:
            await run(url, "DROP OWNED BY app_user")
            await admin.execute("DROP ROLE app_user")


async def as_app_user(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute("GRANT USAGE ON SCHEMA core TO app_user")
        await connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA core TO app_user")
        await connection.execute("GRANT INSERT ON ALL TABLES IN SCHEMA core TO app_user")
    async with running_node(url.replace("postgres@", "app_user@")) as node:
        assert await node.value("SELECT current_user") == "app_user"
        chat = await node.add_chat()
        message = await node.send(chat.client, chat)
        await node.receipts.mark_read(chat.owner, chat.id, 1)
        await node.messages.edit(chat.client, message.id, "edited")
        await node.messages.delete(chat.client, message.id)
        # The server makes partitions although the role owns nothing.
        async with connected(url) as owner:
            name = await owner.fetchval(
                "SELECT relname FROM pg_class WHERE relname ~ '^messages_2' AND relkind = 'r'"
                " ORDER BY relname DESC LIMIT 1"
            )
            await owner.execute(f"DROP TABLE chat.{name}")
        await node.maintenance.ensure_partitions()
        assert await node.value("SELECT to_regclass(:name) IS NOT NULL", name=f"chat.{name}")
        assert await node.value("SELECT count(*) FROM chat.messages") == 1


async def test_the_hosts_role_has_no_keys_of_the_nodes_unless_it_is_given_them(
    empty_database_url: str, postgres_server: EmbeddedPostgres
) -> None:
    url = empty_database_url
    its_url = url.replace("postgres@", "app_user@")
    no_redis = {"redis__url": "redis://127.0.0.1:1"}
    async with connected(postgres_server.url("postgres")) as admin:
        await admin.execute("CREATE ROLE app_user LOGIN")
        try:
            await migrations.upgrade(url)
            await run(
                url,
                "GRANT USAGE ON SCHEMA core TO app_user",
                "GRANT SELECT ON ALL TABLES IN SCHEMA core TO app_user",
            )
            async with running_server(its_url):
                pass  # a node alone needs none
            with pytest.raises(StartError, match="permission denied for table keys"):
                async with running_server(its_url, **no_redis):
                    pass
            await run(url, "GRANT SELECT, INSERT ON chat.keys TO app_user")
            async with running_server(its_url, **no_redis):
                pass
        finally:
            await run(url, "DROP OWNED BY app_user")
            await admin.execute("DROP ROLE app_user")
