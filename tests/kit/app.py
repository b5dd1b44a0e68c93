"""The whole application on a free port of 127.0.0.1, and people who use it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from chatserver.app import Node, create_node
from chatserver.auth.tokens import issue
from chatserver.http.connections import ConnectionRunner
from chatserver.models import Role
from tests.kit.listeners import stop_accepting
from tests.kit.services import connected, settings_for

SECRET = "9gq2ub7xk4mz0rw8hn5tc1vy6pdj3slf"
"""Of these tests, and of nothing else."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A node that serves `base_url` from the database `database_url`."""

    base_url: str
    database_url: str
    node: Node

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])


@asynccontextmanager
async def running_server(database_url: str, **overrides: Any) -> AsyncIterator[RunningServer]:
    """The application on a migrated database, in this process.

    Without a rate limit; `section__key=value` changes a setting.
    """
    settings = settings_for(database_url, **{"jwt__secret": SECRET, **overrides})
    node = await create_node(settings)
    runner = ConnectionRunner(
        node.app,
        handle_signals=False,
        shutdown_timeout=1.0,
        connection_options={
            "request_timeout": settings.server.request_timeout,
            "access_log": None,
        },
    )
    await runner.setup()
    try:
        await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
        yield RunningServer(f"http://127.0.0.1:{runner.addresses[0][1]}", database_url, node)
        assert isinstance(site._server, asyncio.Server)
        await stop_accepting(site._server)
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in `core.users`."""

    id: UUID
    role: Role = Role.CLIENT

    def token(self, ttl: float = 3600.0, *, secret: str = SECRET) -> str:
        return issue(secret, self.id, self.role, ttl)


async def add_person(database_url: str, role: Role = Role.CLIENT) -> Person:
    person = Person(uuid4(), role)
    async with connected(database_url) as connection:
        await connection.execute("INSERT INTO core.users (id) VALUES ($1)", person.id)
    return person


async def add_listing(database_url: str, owner: Person, title: str = "A flat") -> UUID:
    listing_id = uuid4()
    async with connected(database_url) as connection:
        await connection.execute(
            "INSERT INTO core.listings (id, owner_user_id, title) VALUES ($1, $2, $3)",
            listing_id,
            owner.id,
            title,
        )
    return listing_id
