"""A pooled connection on which PostgreSQL said goodbye while nobody was listening."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from chatserver.db.engine import Database, create_engine
from chatserver.errors import Unavailable
from tests.kit.proxy import postgres_upstream

TERMINATE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_a_goodbye_between_two_statements_is_unavailable_and_no_internal_error(
    database_url: str,
) -> None:
    """asyncpg calls an error that it did not ask for its own internal one."""
    admin = create_engine(database_url, pool_size=1)
    async with ending_late(database_url) as late:
        database = Database(late)
        assert await use(database, admin) == "unavailable"
        assert await use(database) == "ok"
        await late.dispose()
    await admin.dispose()


async def use(database: Database, admin: AsyncEngine | None = None) -> str:
    """Two statements; in between `admin` ends the connection."""
    try:
        async with database.transaction() as connection:
            await connection.exec_driver_sql("SELECT 1")
            if admin is not None:
                async with admin.connect() as other:
                    await other.exec_driver_sql(TERMINATE_OTHERS)
                await asyncio.sleep(0.1)
            await connection.exec_driver_sql("SELECT 2")
    except Unavailable:
        return "unavailable"
    return "ok"


@asynccontextmanager
async def ending_late(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool whose connections notice only later that PostgreSQL has closed them."""
    path = postgres_upstream(database_url)
    assert isinstance(path, Path)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_unix_connection(path)
        there = asyncio.create_task(pump(reader, upstream))
        tasks.add(there)
        await pump(upstream_reader, writer)
        await asyncio.sleep(0.3)
        for end in (writer, upstream):
            end.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = make_url(database_url).set(
        host="127.0.0.1", port=server.sockets[0].getsockname()[1], query={}
    )
    yield create_engine(url.render_as_string(hide_password=False), pool_size=1)
    server.close()
    await server.wait_closed()
    await asyncio.wait(tasks)
