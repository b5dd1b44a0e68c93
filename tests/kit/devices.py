"""A device that syncs and remembers what it was told, as a client would; and slow writers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from chatserver.db.host import HostTables
from chatserver.models import Conversation, Principal
from chatserver.services.sync import OpenState, SyncedConversation, SyncResult, SyncService
from tests.kit.services import Node, connected

MAX_PAGES = 50

CHANGE = """
    UPDATE chat.conversations SET rev = rev + 1, changed_xid = pg_current_xact_id()
    WHERE id = $1
"""
TAKE_XID = "SELECT pg_current_xact_id()"


async def sync_service(node: Node, max_answer_bytes: int = 2**19) -> SyncService:
    async with node.database.transaction() as connection:
        host = await HostTables.inspect(connection)
    return SyncService(
        node.database,
        host,
        node.presence,
        node.senders,
        max_answer_bytes=max_answer_bytes,
        at_once=4,
    )


class Device:
    """Keeps the cursor and the conversations; `told` is what the last `sync` brought."""

    def __init__(self, service: SyncService, owner: Principal, limit: int = 100) -> None:
        self.service = service
        self.owner = owner
        self.limit = limit
        self.cursor: str | None = None
        self.known: dict[UUID, Conversation] = {}
        self.told: list[SyncedConversation] = []

    async def page(self, opened: Mapping[UUID, OpenState] | None = None) -> SyncResult:
        """One answer, applied."""
        answer = await self.service.sync(
            self.owner, cursor=self.cursor, limit=self.limit, open=opened or {}
        )
        if answer.reset:
            self.known.clear()
        self.cursor = answer.cursor
        self.known |= {one.conversation.id: one.conversation for one in answer.conversations}
        return answer

    async def sync(self, opened: Mapping[UUID, OpenState] | None = None) -> list[UUID]:
        """All pages; the ids of what they brought, in order."""
        self.told = []
        for _ in range(MAX_PAGES):
            answer = await self.page(opened)
            self.told += answer.conversations
            opened = None
            if not answer.has_more:
                return [one.conversation.id for one in self.told]
        raise AssertionError("the pages have no end")

    @property
    def revs(self) -> dict[UUID, int]:
        return {conversation_id: view.rev for conversation_id, view in self.known.items()}


async def device_of(node: Node, owner: Principal, limit: int = 100) -> Device:
    """A device that holds everything so far."""
    device = Device(await sync_service(node), owner, limit)
    await device.sync()
    return device


@asynccontextmanager
async def held_open(database_url: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which `statements` have run."""
    async with connected(database_url) as connection:
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        yield connection
