"""Cost of a lone send in PostgreSQL: the statement for a batch, and a transaction of its own.

    .venv/bin/python -m bench.append_cost

Both have the same effects. The transaction is what one would write for a single
message: seven short statements, each prepared once.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
from uuid_utils.compat import uuid7

from bench import people
from bench.__main__ import POSTGRES
from bench.databases import make_product_database, plain_url, refresh_statistics
from bench.dialects import Person
from bench.loads import quantile
from bench.processes import cpu_seconds
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.models import MessageType
from chatserver.repositories.appends import NewMessage, append_messages
from chatserver.services.writer import CONNECTION_SETTINGS

PAIRS = 200

LOCK = """
    SELECT client_user_id, owner_user_id, last_seq, rev, is_active,
           greatest(clock_timestamp(), last_message_at + interval '1 microsecond') AS at
    FROM chat.conversations WHERE id = $1 FOR NO KEY UPDATE
"""
KEY = """
    SELECT message_id, digest FROM chat.message_keys
    WHERE conversation_id = $1 AND sender_user_id = $2 AND client_msg_id = $3
"""
MESSAGE = """
    INSERT INTO chat.messages (
        id, conversation_id, seq, rev, sender_user_id, sender_role, message_type, content,
        client_msg_id, created_at, updated_at
    ) VALUES ($1, $2, $3, $4, $5, $9, 'text', $6, $7, $8, $8)
"""
NEW_KEY = """
    INSERT INTO chat.message_keys (
        conversation_id, sender_user_id, client_msg_id, message_id, seq, digest
    ) VALUES ($1, $2, $3, $4, $5, $6)
"""
CONVERSATION = """
    UPDATE chat.conversations
    SET last_seq = $2, rev = $3, last_message_at = $4, updated_at = $4,
        changed_xid = pg_current_xact_id(), archived_by_client = false, archived_by_owner = false
    WHERE id = $1
"""
UNREAD = """
    UPDATE chat.participants SET unread_count = unread_count + 1
    WHERE conversation_id = $1 AND user_id = $2 RETURNING unread_count
"""
TOTAL = """
    UPDATE chat.unread_totals SET unread_count = unread_count + 1, version = version + 1
    WHERE user_id = $1 RETURNING unread_count, version
"""

Send = Callable[[asyncpg.Connection, NewMessage], Awaitable[object]]


async def in_a_statement(connection: asyncpg.Connection, new: NewMessage) -> None:
    await append_messages(connection, [new])


async def in_a_transaction(connection: asyncpg.Connection, new: NewMessage) -> None:
    where, who, key = new.conversation_id, new.sender_id, new.client_msg_id
    async with connection.transaction():
        row = await connection.fetchrow(LOCK, where)
        assert row is not None
        assert await connection.fetchrow(KEY, where, who, key) is None
        seq, rev, at = row["last_seq"] + 1, row["rev"] + 1, row["at"]
        role = "client" if who == row["client_user_id"] else "owner"
        await connection.execute(MESSAGE, new.id, where, seq, rev, who, new.content, key, at, role)
        await connection.execute(NEW_KEY, where, who, key, new.id, seq, new.digest)
        await connection.execute(CONVERSATION, where, seq, rev, at)
        (other,) = {row["client_user_id"], row["owner_user_id"]} - {who}
        await connection.fetchrow(UNREAD, where, other)
        await connection.fetchrow(TOTAL, other)


def message_of(person: Person) -> NewMessage:
    return NewMessage(
        id=uuid7(),
        conversation_id=person.conversation_id,
        sender_id=person.user_id,
        voice=None,
        message_type=MessageType.TEXT,
        content="Is the flat still free?",
        media_url=None,
        reply_to_seq=None,
        client_msg_id=uuid4(),
        digest=bytes(16),
    )


async def run(postgres: EmbeddedPostgres, options: argparse.Namespace) -> None:
    url = await make_product_database(postgres, "bench_append", PAIRS)
    await refresh_statistics(url)
    writers = [person for pair in people.pairs(PAIRS) for person in pair]
    batching = await asyncpg.connect(plain_url(url), server_settings=CONNECTION_SETTINGS)
    plain = await asyncpg.connect(plain_url(url))
    ways: list[tuple[str, Send, asyncpg.Connection]] = [
        ("one statement for a batch of one", in_a_statement, batching),
        ("a transaction of its own", in_a_transaction, plain),
    ]
    for _ in range(options.rounds):
        for name, send, connection in ways:
            times, used = [], cpu_seconds(postgres.pid)
            for number in range(options.sends):
                new, began = message_of(writers[number % len(writers)]), time.perf_counter()
                await send(connection, new)
                times.append(time.perf_counter() - began)
            used = (cpu_seconds(postgres.pid) - used) / options.sends * 1e6
            p50, p99 = (quantile(sorted(times), share) * 1000 for share in (0.5, 0.99))
            print(f"{name:<34} PostgreSQL {used:4.0f} µs   p50 {p50:5.2f} ms   p99 {p99:5.2f} ms")
    for _, _, connection in ways:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sends", type=int, default=2000, help="one after the other, in a round")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="chatserver-bench-"))
    try:
        with EmbeddedPostgres(directory, options=POSTGRES, tcp=True) as postgres:
            asyncio.run(run(postgres, options))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
