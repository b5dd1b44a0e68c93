"""A server process that can be killed and comes back, and a chat of two people on it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from aiohttp import ClientSession

from chatserver.dev.manifests import page_link
from chatserver.dev.ports import free_port
from tests.kit.app import Person
from tests.kit.clients import Chat, Rest, open_chat
from tests.kit.processes import ServerProcess, serving
from tests.kit.proxy import Proxy
from tests.kit.services import connected

STORED = """
    SELECT m.seq, m.content, CASE
        WHEN m.seq <= peer.read_seq THEN 'read'
        WHEN m.seq <= peer.delivered_seq THEN 'delivered'
        ELSE 'sent' END AS status
    FROM chat.messages m
    JOIN chat.participants peer
        ON peer.conversation_id = m.conversation_id AND peer.user_id <> m.sender_user_id
    WHERE m.conversation_id = $1 ORDER BY m.seq
"""


@dataclass(frozen=True)
class House:
    """`server` may be killed; `restarted` is another one in its place."""

    database_url: str
    directory: Path
    settings: dict[str, Any]
    server: ServerProcess
    chat: Chat

    @property
    def base_url(self) -> str:
        return self.server.base_url

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    def restarted(self) -> AbstractAsyncContextManager[ServerProcess]:
        return serving(self.database_url, self.port, self.directory, **self.settings)

    def link(self, person: Person, cable: Proxy | None = None, *, is_open: bool = True) -> str:
        """The page as `person`, with the conversation open or the list alone.

        By way of `cable`, which then stands between the browser and the server.
        """
        base = self.base_url if cable is None else f"http://127.0.0.1:{cable.port}"
        return page_link(base, person.token(), UUID(self.chat.id) if is_open else None)

    async def send(self, sender: Person, *texts: str) -> None:
        """Over REST, as a client that no screen knows of."""
        async with ClientSession() as http:
            for text in texts:
                sent = await Rest(http, self.base_url).send(sender, self.chat.id, content=text)
                assert sent.status == 201, sent

    async def stored(self) -> list[tuple[str, str]]:
        return await stored(self.database_url, self.chat.id)


async def stored(database_url: str, conversation_id: str) -> list[tuple[str, str]]:
    """Text and state of every message in the database, in order; each `seq` is there once."""
    async with connected(database_url) as connection:
        rows = await connection.fetch(STORED, UUID(conversation_id))
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["content"], row["status"]) for row in rows]


@asynccontextmanager
async def running_house(
    database_url: str, directory: Path, **settings: Any
) -> AsyncIterator[House]:
    """A new conversation of two new people; `settings` as `environment` takes them."""
    async with serving(database_url, free_port(), directory, **settings) as server:
        async with ClientSession() as http:
            chat = await open_chat(Rest(http, server.base_url), database_url)
        yield House(database_url, directory, settings, server, chat)
