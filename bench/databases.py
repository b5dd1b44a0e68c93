"""Databases of the benchmark: one for each run, with people in conversations, and their proof."""

from uuid import UUID

import asyncpg

from chatserver.db import migrations
from chatserver.dev.postgres import EmbeddedPostgres

CLIENT, OWNER, CONVERSATION = 1, 2, 3

# What the peers have instead of the product's schema: as little as the job needs.
PLAIN_SCHEMA = """
    CREATE SCHEMA chat;
    CREATE TABLE chat.conversations (
        id              uuid PRIMARY KEY,
        client_user_id  uuid NOT NULL,
        owner_user_id   uuid NOT NULL,
        last_seq        bigint NOT NULL DEFAULT 0,
        last_message_at timestamptz,
        CHECK (client_user_id <> owner_user_id)
    ) WITH (fillfactor = 50);
    CREATE TABLE chat.messages (
        id              uuid PRIMARY KEY,
        conversation_id uuid NOT NULL REFERENCES chat.conversations (id),
        seq             bigint NOT NULL,
        sender_user_id  uuid NOT NULL,
        content         text NOT NULL,
        client_msg_id   uuid NOT NULL,
        created_at      timestamptz NOT NULL,
        UNIQUE (conversation_id, seq),
        UNIQUE (conversation_id, sender_user_id, client_msg_id)
    );
"""

_ID = "CAST(lpad(to_hex({kind}), 16, '0') || lpad(to_hex(i), 16, '0') AS uuid)"
_CLIENT, _OWNER, _CONVERSATION = (_ID.format(kind=kind) for kind in (CLIENT, OWNER, CONVERSATION))
_PAIRS = "generate_series(0, $1::bigint - 1) i"

PLAIN_PEOPLE = (
    f"INSERT INTO chat.conversations SELECT {_CONVERSATION}, {_CLIENT}, {_OWNER} FROM {_PAIRS}",
)

PRODUCT_PEOPLE = (
    f"""
    INSERT INTO core.users (id, first_name)
    SELECT {_CLIENT}, 'Client' FROM {_PAIRS} UNION ALL SELECT {_OWNER}, 'Owner' FROM {_PAIRS}
    """,
    f"""
    INSERT INTO core.listings (id, owner_user_id, title, price, currency)
    SELECT {_CONVERSATION}, {_OWNER}, 'A flat', 700, 'EUR' FROM {_PAIRS}
    """,
    f"""
    INSERT INTO chat.conversations (id, listing_id, client_user_id, owner_user_id)
    SELECT {_CONVERSATION}, {_CONVERSATION}, {_CLIENT}, {_OWNER} FROM {_PAIRS}
    """,
    f"""
    INSERT INTO chat.participants (conversation_id, user_id, role)
    SELECT {_CONVERSATION}, {_CLIENT}, 'client' FROM {_PAIRS}
    UNION ALL SELECT {_CONVERSATION}, {_OWNER}, 'owner' FROM {_PAIRS}
    """,
    f"""
    INSERT INTO chat.unread_totals (user_id)
    SELECT {_CLIENT} FROM {_PAIRS} UNION ALL SELECT {_OWNER} FROM {_PAIRS}
    """,
)

# Both schemas have these columns.
_STORED = """
    SELECT coalesce(sum(count), 0)::bigint AS stored,
           coalesce(bool_and(count = last AND count = numbers), true) AS is_gapless
    FROM (
        SELECT count(*) AS count, max(seq) AS last, count(DISTINCT seq) AS numbers
        FROM chat.messages GROUP BY conversation_id
    ) c
"""


class VoidRun(Exception):
    """The server did not keep its promise, so its figures count for nothing."""


def identity(kind: int, number: int) -> UUID:
    """The id that the statements above give to client, owner or conversation `number`."""
    return UUID(int=kind << 64 | number)


def plain_url(url: str) -> str:
    """SQLAlchemy's URL as other drivers read it."""
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def make_product_database(server: EmbeddedPostgres, name: str, pairs: int) -> str:
    """A new database with the product's own schema, and `pairs` conversations; its URL."""
    await make_anew(server, name)
    await migrations.upgrade(server.url(name))
    await fill(server, name, PRODUCT_PEOPLE, pairs)
    return server.tcp_url(name)


async def make_plain_database(server: EmbeddedPostgres, name: str, pairs: int) -> str:
    """A new database with the peers' schema, and `pairs` conversations; its URL."""
    await make_anew(server, name)
    await fill(server, name, (PLAIN_SCHEMA,))
    await fill(server, name, PLAIN_PEOPLE, pairs)
    return server.tcp_url(name)


async def make_anew(server: EmbeddedPostgres, name: str) -> None:
    """An empty database, instead of any that had this name."""
    await server.drop_database(name)
    await server.create_database(name)


async def fill(
    server: EmbeddedPostgres, name: str, statements: tuple[str, ...], *values: int
) -> None:
    """Execute the statements one after another, each with `values` as its parameters."""
    connection = await asyncpg.connect(plain_url(server.tcp_url(name)))
    try:
        for statement in statements:
            await connection.execute(statement, *values)
    finally:
        await connection.close()


async def refresh_statistics(url: str) -> None:
    """Do now what autovacuum does within its first minutes, so that all plans fit the data."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def check_stored(url: str, acknowledged: int) -> None:
    """Raises VoidRun unless just what was acknowledged is stored, numbered without a gap."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        ((stored, is_gapless),) = await connection.fetch(_STORED)
    finally:
        await connection.close()
    if stored != acknowledged:
        raise VoidRun(f"{acknowledged} messages acknowledged, {stored} stored")
    if not is_gapless:
        raise VoidRun("the numbers of a conversation have gaps")
