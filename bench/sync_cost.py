"""Cost of a sync: a landlord with many conversations, three changed, among millions of messages.

    .venv/bin/python -m bench.sync_cost --messages 5000000

Builds a database in a directory of its own, removed afterwards, then prints the
plan of the one statement that looks for changes, and p50 and p95 of the service.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.stored import CHANGE, LANDLORD, fill
from chatserver.backplane.memory import PresenceLeases
from chatserver.db import migrations
from chatserver.db.engine import Database, create_engine
from chatserver.db.host import HostTables
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.events import Event
from chatserver.models import Principal, Role
from chatserver.repositories import sync
from chatserver.repositories.sync import Mark
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService
from chatserver.services.sync import OpenState, SyncResult, SyncService
from chatserver.settings import Settings


class Silent:
    """A publisher that nobody listens to."""

    def publish(self, event: Event) -> None:
        """Nobody does."""


class Bench:
    """The service on a filled database, called as an edge calls it."""

    def __init__(self, engine: AsyncEngine, host: HostTables, rounds: int) -> None:
        self.engine = engine
        self.rounds = rounds
        settings = Settings.load("dev", {}, overrides={"database.url": str(engine.url)})
        database = Database(engine)
        presence = PresenceService(
            database, database, PresenceLeases(), Silent(), settings.presence
        )
        senders = SenderService(database, host, settings.auth.user_cache_ttl)
        self.service = SyncService(
            database, host, presence, senders, max_answer_bytes=2**19, at_once=4
        )
        self.principal = Principal(LANDLORD, Role.OWNER, datetime.now(UTC) + timedelta(hours=1))
        self.cursor: str | None = None

    async def sync(self, opened: dict[UUID, OpenState] | None = None) -> SyncResult:
        return await self.service.sync(
            self.principal, cursor=self.cursor, limit=100, open=opened or {}
        )

    async def walk(self) -> tuple[int, int]:
        """Sync from the beginning: how many pages and conversations that is."""
        self.cursor, pages, found = None, 0, 0
        while True:
            answer = await self.sync()
            self.cursor = answer.cursor
            pages, found = pages + 1, found + len(answer.conversations)
            if not answer.has_more:
                return pages, found

    async def change(self, count: int, salt: int) -> None:
        async with self.engine.begin() as connection:
            await connection.exec_driver_sql(CHANGE, (LANDLORD, str(salt), count))

    async def measure(self, name: str, changed: int, opened: bool = False) -> None:
        """Time `rounds` syncs with so many conversations changed before each."""
        times = []
        answer = await self.walk_end()
        for number in range(self.rounds + 10):
            await self.change(changed, number)
            states = {}
            if opened:
                # Held up to two messages before the end, as after a short absence.
                view = answer.conversations[0].conversation
                states = {view.id: OpenState(view.last_seq - 2, view.rev - 2)}
            began = time.perf_counter()
            answer = await self.sync(states)
            times.append((time.perf_counter() - began) * 1000)
            self.cursor = answer.cursor
            assert len(answer.conversations) in (changed, changed + 1), answer
        report(name, times[10:])

    async def walk_end(self) -> SyncResult:
        """A last answer with something in it."""
        await self.walk()
        await self.change(1, -1)
        answer = await self.sync()
        self.cursor = answer.cursor
        return answer

    async def explain(self, connection: AsyncConnection) -> str:
        """The plan of the statement that looks for what changed, with real values."""
        snapshot = await sync.get_snapshot(connection)
        found = await sync.list_changed(connection, LANDLORD, snapshot, since=None, limit=1)
        return await plan(
            connection,
            lambda: sync.list_changed(
                connection, LANDLORD, snapshot, since=Mark(found.newest - 1), limit=101
            ),
        )


async def plan(connection: AsyncConnection, run: Callable[[], Awaitable[object]]) -> str:
    """The plan that auto_explain notices for what `run` executes."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    notices: list[str] = []
    driver.add_log_listener(lambda _, message: notices.append(message.message))
    for setting in (
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_buffers = on",
        "client_min_messages = log",
    ):
        await driver.execute(f"SET LOCAL {setting}")
    await run()
    # Only the next statement ends the execution of this one; notices come by the loop.
    await driver.execute("SELECT 1")
    await asyncio.sleep(0.1)
    return next(notice for notice in notices if "own" in notice)


def report(name: str, times: list[float]) -> None:
    centiles = statistics.quantiles(times, n=100)
    print(
        f"{name:<46} best {min(times):6.2f} ms   p50 {centiles[49]:6.2f} ms"
        f"   p95 {centiles[94]:6.2f} ms   ({len(times)} calls)"
    )


async def run(server: EmbeddedPostgres, options: argparse.Namespace) -> None:
    await server.create_database("bench")
    await migrations.upgrade(server.url("bench"))
    engine = create_engine(
        server.url("bench"),
        pool_size=2,
        statement_timeout=3600,
        server_settings={"session_preload_libraries": "auto_explain"},
    )
    began = time.perf_counter()
    await fill(engine, options.messages, options.conversations)
    async with engine.begin() as connection:
        host = await HostTables.inspect(connection)
        ((messages, size),) = (
            await connection.execute(
                text("SELECT count(*), pg_database_size(current_database()) FROM chat.messages")
            )
        ).all()
    print(f"{messages:,} messages, {size / 2**30:.1f} GiB, in {time.perf_counter() - began:.0f} s")
    bench = Bench(engine, host, options.rounds)
    pages, found = await bench.walk()
    print(f"{found:,} conversations of the landlord, in {pages} pages without a cursor\n")
    await bench.change(3, 0)
    async with engine.begin() as connection:
        print(await bench.explain(connection), "\n")
    await bench.measure("nothing changed", 0)
    await bench.measure("three changed", 3)
    await bench.measure("three changed, one open with two new messages", 3, opened=True)
    await bench.measure("a hundred changed", 100)
    await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--conversations", type=int, default=1000, help="of the landlord")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="chatserver-bench-"))
    settings = {"shared_buffers": "1GB", "max_wal_size": "4GB", "fsync": "off"}
    try:
        with EmbeddedPostgres(directory, options=settings) as server:
            asyncio.run(run(server, options))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
