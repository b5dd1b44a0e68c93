"""Growth of the product's times: with the messages stored, with the conversations of a user."""

import asyncio
import random
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench import people
from bench.crowds import Crowd
from bench.databases import plain_url
from bench.dialects import Person
from bench.loads import quantile
from bench.requests import Requests
from bench.stored import CHANGE, LANDLORD, fill
from bench.targets import TARGETS
from chatserver.db import migrations
from chatserver.db.engine import create_engine
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.models import Role

STRANGERS = 200
"""Clients whose histories are read: other conversations than the landlord's, picked at random."""

SENDERS = 20
WARM_UP = 20
CHANGED = 3
DATABASE = "bench_stored"

_PICK = """
    SELECT id, client_user_id, owner_user_id FROM chat.conversations
    WHERE owner_user_id <> $1 ORDER BY md5(id::text) LIMIT $2
"""

Operation = Callable[[], Awaitable[float]]
"""Does one operation and answers the seconds that it took."""


class Scaling:
    """Measures each operation `calls` times, all of them in turn."""

    def __init__(self, postgres: EmbeddedPostgres, directory: Path, calls: int) -> None:
        self._postgres = postgres
        self._directory = directory
        self._calls = calls

    async def run(self, messages: int, conversations: int) -> dict[str, Any]:
        """p50 and p95 in ms of each operation, as JSON has them.

        `messages` are stored, fifty in a conversation; one landlord has `conversations`
        of these.
        """
        await self._fill(messages, conversations)
        try:
            async with (
                TARGETS["chatserver"].launch(
                    self._postgres.tcp_url(DATABASE), self._directory
                ) as server,
                self._caller(server.port) as caller,
            ):
                times = await self._measure(caller.operations())
        finally:
            await self._postgres.drop_database(DATABASE)
        return {
            "messages": messages,
            "conversations": conversations,
            "operations": {name: _summary(found) for name, found in times.items()},
        }

    async def _fill(self, messages: int, conversations: int) -> None:
        await self._postgres.drop_database(DATABASE)
        await self._postgres.create_database(DATABASE)
        url = self._postgres.url(DATABASE)
        await migrations.upgrade(url)
        engine = create_engine(url, pool_size=1, statement_timeout=3600)
        try:
            await fill(engine, messages, conversations)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def _caller(self, port: int) -> AsyncIterator["Caller"]:
        database = await asyncpg.connect(plain_url(self._postgres.tcp_url(DATABASE)))
        caller = await Caller.open(port, database)
        try:
            yield caller
        finally:
            caller.close()
            await database.close()

    async def _measure(self, operations: dict[str, Operation]) -> dict[str, "array[float]"]:
        times = {name: array("d") for name in operations}
        for _ in range(WARM_UP + self._calls):
            for name, operation in operations.items():
                times[name].append(await operation())
        return {name: found[WARM_UP:] for name, found in times.items()}


class Caller:
    """The landlord, and strangers whose conversations are read and written at random."""

    def __init__(
        self,
        requests: Requests,
        database: asyncpg.Connection,
        strangers: list[Person],
        crowd: Crowd,
    ) -> None:
        self._requests = requests
        self._database = database
        self._strangers = strangers
        self._crowd = crowd
        self._landlord = people.token(LANDLORD, Role.OWNER)
        self._random = random.Random(1)  # the same choice in every run
        self._cursor = ""
        self._is_synced = False
        self._changes = 0

    @classmethod
    async def open(cls, port: int, database: asyncpg.Connection) -> "Caller":
        rows = await database.fetch(_PICK, LANDLORD, STRANGERS)
        pairs = [
            (
                Person(row["client_user_id"], row["id"], people.token(row["client_user_id"])),
                Person(row["owner_user_id"], row["id"], people.token(row["owner_user_id"])),
            )
            for row in rows
        ]
        crowd = Crowd(TARGETS["chatserver"].dialect, pairs[:SENDERS])
        await crowd.connect(port)
        return cls(await Requests.open(port), database, [pair[0] for pair in pairs], crowd)

    def close(self) -> None:
        self._crowd.close()
        self._requests.close()

    def operations(self) -> dict[str, Operation]:
        return {
            "history": self._history,
            "conversations": self._conversations,
            "unread": self._unread,
            "sync": self._sync,
            "send": self._send,
        }

    async def _history(self) -> float:
        """The newest twenty messages of a conversation."""
        person = self._random.choice(self._strangers)
        path = f"/api/chat/conversations/{person.conversation_id}/messages?limit=20"
        return (await self._requests.get(path, person.token))[1]

    async def _conversations(self) -> float:
        """The first page of the landlord's list."""
        return (await self._requests.get("/api/chat/conversations", self._landlord))[1]

    async def _unread(self) -> float:
        return (await self._requests.get("/api/chat/unread-count", self._landlord))[1]

    async def _sync(self) -> float:
        """The landlord's, after three conversations have changed."""
        while not self._is_synced:
            await self._next_page()
        self._changes += 1
        await self._database.execute(CHANGE, LANDLORD, str(self._changes), CHANGED)
        return await self._next_page()

    async def _next_page(self) -> float:
        query = f"?cursor={self._cursor}" if self._cursor else ""
        page, elapsed = await self._requests.get(f"/api/chat/sync{query}", self._landlord)
        self._cursor, self._is_synced = page["cursor"], not page["has_more"]
        return elapsed

    async def _send(self) -> float:
        """A message over a socket, until it is acknowledged."""
        acknowledged: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._crowd.on_acknowledged = acknowledged.set_result
        began = time.perf_counter()
        self._crowd.send(self._random.randrange(len(self._crowd.pairs)), began)
        async with asyncio.timeout(10):
            await acknowledged
        return time.perf_counter() - began


def _summary(times: "array[float]") -> dict[str, float]:
    ordered = sorted(times)
    return {"p50": quantile(ordered, 0.5) * 1000, "p95": quantile(ordered, 0.95) * 1000}
