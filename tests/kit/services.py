"""The real services of one node on a database, and people for them to serve.

Two of them on the same database are two nodes, as far as PostgreSQL can tell.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import text

from chatserver.backplane.memory import PresenceLeases, RateLimits
from chatserver.db.engine import Database, create_engine
from chatserver.db.host import HostTables
from chatserver.events import Event
from chatserver.models import Conversation, Message, Principal, Role
from chatserver.repositories import nodes
from chatserver.services.conversations import ConversationService
from chatserver.services.hints import HeadHints, UnreadHints
from chatserver.services.maintenance import MaintenanceService
from chatserver.services.members import MemberService
from chatserver.services.messages import Draft, MessageService, Sent
from chatserver.services.nodes import MEMBERS
from chatserver.services.presence import PresenceService
from chatserver.services.receipts import ReceiptService
from chatserver.services.revocations import RevocationService
from chatserver.services.senders import SenderService
from chatserver.services.typing import TypingService
from chatserver.services.viewers import Viewers
from chatserver.services.writer import MessageWriter
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics
from tests.kit.stalls import PATIENCE

E = TypeVar("E")


class RecordingPublisher:
    """Keeps what the services publish, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E], where: Callable[[E], bool] = lambda _: True) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind) and where(event)]

    def clear(self) -> None:
        self.events.clear()


@dataclass(frozen=True)
class Chat:
    """A conversation and the two who hold it."""

    id: UUID
    client: Principal
    owner: Principal
    listing_id: UUID

    @property
    def people(self) -> tuple[Principal, Principal]:
        return self.client, self.owner

    def other(self, person: Principal) -> Principal:
        return self.owner if person is self.client else self.client


class Node:
    """All services of a node, wired as the application does it."""

    def __init__(self, settings: Settings, database: Database, host: HostTables) -> None:
        self.settings = settings
        self.database = database
        self.host = host
        self.publisher = RecordingPublisher()
        self.metrics = Metrics()
        self.leases = PresenceLeases()
        self.heads = HeadHints(database, self.publisher)
        self.counters = UnreadHints(database, self.publisher)
        self.presence = PresenceService(
            database,
            database,
            self.leases,
            self.publisher,
            settings.presence,
            max_sockets=settings.realtime.max_sockets_per_user,
        )
        self.senders = SenderService(database, host, settings.auth.user_cache_ttl)
        self.viewers = Viewers(host, self.presence, self.senders)
        self.conversations = ConversationService(
            database,
            host,
            self.viewers,
            self.publisher,
            RateLimits(settings.rate_limit.conversations),
        )
        self.members = MemberService(database, host, self.viewers, self.publisher, settings.members)
        self.writer_engine = MessageWriter.create_engine(settings.database)
        self.writer = MessageWriter(
            self.writer_engine,
            self.publisher,
            self.heads,
            self.metrics,
            settings.writer,
            introduce=self.conversations.introduce,
            fill_in=self.senders.fill_in,
        )
        self.messages = MessageService(
            database,
            self.writer,
            self.publisher,
            self.heads,
            RateLimits(settings.rate_limit.messages),
            self.senders,
            settings.messages,
        )
        self.receipts = ReceiptService(
            database, database, self.publisher, self.heads, settings.writer
        )
        self.maintenance = MaintenanceService(database, self.metrics)
        self.typing = TypingService(database, self.publisher)
        self.revocations = RevocationService(database, settings.jwt.leeway)

    async def close(self) -> None:
        await self.receipts.close()
        await self.writer.close()
        await self.heads.close()
        await self.counters.close()
        await self.writer_engine.dispose()
        await self.database.dispose()

    # The database, past the services

    async def sql(self, statement: str, **values: Any) -> Any:
        """Run a statement in a transaction of its own: its rows, or None."""
        async with self.database.transaction() as connection:
            result = await connection.execute(text(statement), values)
            return result.all() if result.returns_rows else None

    async def value(self, statement: str, **values: Any) -> Any:
        """The one value that a query answers."""
        ((value,),) = await self.sql(statement, **values)
        return value

    # People

    async def add_user(self, role: Role = Role.CLIENT, name: str | None = None) -> Principal:
        user_id = uuid4()
        await self.sql(
            "INSERT INTO core.users (id, first_name) VALUES (:id, :name)", id=user_id, name=name
        )
        return principal(user_id, role)

    async def add_listing(self, owner: Principal, title: str = "A flat") -> UUID:
        listing_id = uuid4()
        await self.sql(
            "INSERT INTO core.listings (id, owner_user_id, title, price, currency)"
            " VALUES (:id, :owner, :title, :price, 'EUR')",
            id=listing_id,
            owner=owner.user_id,
            title=title,
            price=Decimal("700.50"),
        )
        return listing_id

    async def add_chat(
        self, client: Principal | None = None, owner: Principal | None = None
    ) -> Chat:
        """A new conversation about a new listing, of new people where none are given.

        Opened by the host, so that the owner sees it before anything is written.
        """
        client = client or await self.add_user(name="Tenant")
        owner = owner or await self.add_user(Role.OWNER, "Landlord")
        listing_id = await self.add_listing(owner)
        host = principal(uuid4(), Role.SERVICE)
        conversation, _ = await self.conversations.open(host, listing_id, client.user_id)
        return Chat(conversation.id, client, owner, listing_id)

    # What people do

    async def send(
        self, sender: Principal, chat: Chat | UUID, content: str = "hello", **parts: Any
    ) -> Message:
        return (await self.try_send(sender, chat, content, **parts)).message

    async def try_send(
        self, sender: Principal, chat: Chat | UUID, content: str = "hello", **parts: Any
    ) -> Sent:
        conversation_id = chat.id if isinstance(chat, Chat) else chat
        return await self.messages.send(sender, conversation_id, Draft(content=content, **parts))

    async def view(self, viewer: Principal, chat: Chat) -> Conversation:
        return await self.conversations.get(viewer, chat.id)

    async def all_messages(self, viewer: Principal, chat: Chat) -> list[Message]:
        """Oldest first, page by page."""
        found: list[Message] = []
        while True:
            after = found[-1].seq if found else 0
            page = await self.messages.history(viewer, chat.id, limit=100, after_seq=after)
            found += page.messages
            if not page.has_more:
                return found


def principal(user_id: UUID, role: Role = Role.CLIENT) -> Principal:
    return Principal(user_id, role, datetime.now(UTC) + timedelta(hours=1))


def settings_for(database_url: str, **overrides: Any) -> Settings:
    """Settings for a database; `section__key=value` changes one. No rate limits."""
    changed = {
        "rate_limit.messages": "",
        "rate_limit.conversations": "",
        "database.url": database_url,
    }
    changed |= {name.replace("__", "."): value for name, value in overrides.items()}
    return Settings.load("dev", {}, overrides=changed)


@asynccontextmanager
async def running_node(database_url: str, **overrides: Any) -> AsyncIterator[Node]:
    """A node on a migrated database; overrides as `settings_for` takes them."""
    settings = settings_for(database_url, **overrides)
    database = Database(
        create_engine(
            database_url,
            pool_size=settings.database.pool_size,
            pool_timeout=settings.database.pool_timeout,
            statement_timeout=settings.database.statement_timeout,
        )
    )
    try:
        async with database.transaction() as connection:
            host = await HostTables.inspect(connection)
            # A standby, which cannot be written to, has it from its primary.
            if MEMBERS not in await nodes.list_promises(connection):
                await nodes.keep_promise(connection, MEMBERS)
    except BaseException:
        await database.dispose()
        raise
    node = Node(settings, database, host)
    try:
        yield node
    finally:
        await node.close()


@asynccontextmanager
async def connected(database_url: str, **options: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, e.g. to hold a lock; `options` are session settings."""
    connection = await asyncpg.connect(
        database_url.replace("+asyncpg", ""),
        server_settings={"application_name": "test", **options},
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def until_someone_waits(connection: asyncpg.Connection, how_many: int = 1) -> None:
    """Until so many connections of this database wait for a lock."""
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(_WAITING) < how_many:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
