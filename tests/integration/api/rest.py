"""A client of the REST edge on a real node, for tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson
from aiohttp import ClientSession, web
from multidict import CIMultiDictProxy
from sqlalchemy import text

from chatserver.app import Node, create_node
from chatserver.auth.tokens import issue
from chatserver.dev.demo import DEMO_LISTINGS, LANDLORD, SECOND_TENANT, TENANT, DemoUser, load_demo
from chatserver.http.connections import ConnectionRunner
from chatserver.http.problems import MEDIA_TYPE, TYPE_PREFIX
from chatserver.models import Role
from tests.kit.services import settings_for

API = "/api/chat"


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def code(self) -> str:
        """The error code; fails unless this is a whole problem document."""
        assert self.headers["Content-Type"] == MEDIA_TYPE
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == TYPE_PREFIX + problem["code"]
        assert problem["request_id"] == self.headers["X-Request-ID"]
        assert problem["title"]
        assert problem["detail"]
        assert isinstance(problem["retryable"], bool)
        return str(problem["code"])

    @property
    def outcome(self) -> tuple[int, str]:
        return self.status, self.code

    @property
    def bad_fields(self) -> set[str]:
        assert self.outcome == (422, "invalid_payload")
        return set(self.json["fields"])

    @property
    def next(self) -> str | None:
        """Where the Link header leads."""
        link = self.headers.get("Link")
        if link is None:
            return None
        assert link.startswith("<")
        assert link.endswith('>; rel="next"')
        return link[1:].partition(">")[0]


class Rest:
    """Calls one node; the tenant unless `user` says otherwise.

    `tenant`, `landlord` and `stranger` have met nobody yet, and `listing` is the landlord's.
    """

    def __init__(self, node: Node, session: ClientSession, host: str, port: int) -> None:
        self.node = node
        self.host = host
        self.port = port
        self.origin = f"http://{host}:{port}"
        self.tenant, self.landlord, self.stranger = TENANT, LANDLORD, SECOND_TENANT
        self.listing = str(DEMO_LISTINGS[0].id)
        self._session = session

    async def with_new_people(self) -> "Rest":
        """A client of the same node for people whom nobody knows."""
        other = copy(self)
        other.tenant, other.stranger = await self.add_user(), await self.add_user()
        other.landlord = await self.add_user(Role.OWNER)
        other.listing = await other.add_listing()
        return other

    def token(self, user: DemoUser) -> str:
        return issue(self.node.settings.jwt.secret, user.id, user.role, 600)

    async def call(
        self,
        method: str,
        path: str,
        *,
        user: DemoUser | Literal["tenant"] | None = "tenant",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Reply:
        """`user` None sends no token."""
        caller = self.tenant if user == "tenant" else user
        sent = {} if caller is None else {"Authorization": f"Bearer {self.token(caller)}"}
        sent |= headers or {}
        async with self._session.request(method, path, headers=sent, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.call("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.call("PUT", path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.call("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.call("DELETE", path, **options)

    async def open(self, listing: str | None = None, **options: Any) -> str:
        """The path of the caller's conversation about a listing, of the landlord's."""
        body = {"listing_id": listing or self.listing}
        reply = await self.post(f"{API}/conversations", body, **options)
        assert reply.status in (200, 201)
        return f"{API}/conversations/{reply.json['id']}"

    async def send(self, conversation: str, content: str = "hello", **options: Any) -> Any:
        reply = await self.post(f"{conversation}/messages", {"content": content}, **options)
        assert reply.status == 201
        return reply.json

    async def sql(self, statement: str, **values: Any) -> None:
        async with self.node.database.transaction() as connection:
            await connection.execute(text(statement), values)

    async def add_user(self, role: Role = Role.CLIENT) -> DemoUser:
        user = DemoUser(uuid4(), "", "", "", role)
        await self.sql("INSERT INTO core.users (id) VALUES (:id)", id=user.id)
        return user

    async def add_listing(self) -> str:
        """Another one of the landlord's."""
        listing_id = uuid4()
        await self.sql(
            "INSERT INTO core.listings (id, owner_user_id) VALUES (:id, :owner)",
            id=listing_id,
            owner=self.landlord.id,
        )
        return str(listing_id)


def unknown_id() -> UUID:
    return uuid4()


async def follow(rest: Rest, path: str | None) -> list[Any]:
    """All pages, by their links."""
    pages = []
    while path is not None:
        reply = await rest.get(path)
        assert reply.status == 200
        pages.append(reply.json)
        path = reply.next
    return pages


def without_request_id(reply: Reply) -> dict[str, Any]:
    return {name: value for name, value in reply.json.items() if name != "request_id"}


@asynccontextmanager
async def running_rest(database_url: str, **overrides: Any) -> AsyncIterator[Rest]:
    """A node with the demo's people, and a client of it; overrides as `settings_for`'s.

    It is served as in production, not by aiohttp's test server, which cancels the
    requests of clients that go away.
    """
    patient = {"database__pool_timeout": 10.0, **overrides}
    node = await create_node(settings_for(database_url, **patient))
    await load_demo(node.database.engine)
    runner = ConnectionRunner(
        node.app,
        shutdown_timeout=1.0,
        connection_options={"request_timeout": 60.0, "access_log": None},
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with ClientSession(f"http://{host}:{port}") as session:
            yield Rest(node, session, host, port)
    finally:
        await runner.cleanup()
