"""A conversation with all four devices of its two people open in the real client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession

from tests.kit.app import RunningServer, running_server
from tests.kit.clients import Chat, Rest, open_chat
from tests.kit.proxy import Proxy, running_proxy
from tests.system.e2e.node_client import JsSocket, NodeClient

TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]


@dataclass(frozen=True)
class Stage:
    """`phone` and `laptop` are the tenant's, `desk` and `mobile` the landlord's.

    The phone's connection goes by way of `cable`, so that it can be torn.
    """

    server: RunningServer
    rest: Rest
    js: NodeClient
    transports: list[str]
    chat: Chat
    cable: Proxy
    phone: JsSocket
    laptop: JsSocket
    desk: JsSocket
    mobile: JsSocket

    @property
    def devices(self) -> tuple[JsSocket, ...]:
        return self.phone, self.laptop, self.desk, self.mobile

    @property
    def id(self) -> dict[str, str]:
        return {"conversation_id": self.chat.id}

    async def join(self, *sockets: JsSocket) -> None:
        for socket in sockets:
            await socket.ok("join", self.id)

    async def send(self, socket: JsSocket, content: str = "hello", **parts: Any) -> Any:
        """The message as its sender's acknowledgement has it."""
        return (await socket.ok("message", {**self.id, "content": content, **parts}))["message"]

    async def settle(self) -> None:
        """Wait until every device has received all that was sent to it so far."""
        await self.settle_of(*self.devices)

    async def settle_of(self, *devices: JsSocket) -> None:
        for device in devices:
            assert await device.code("settle", {}) == "unknown_event"


@asynccontextmanager
async def running_stage(
    js: NodeClient, database_url: str, transports: list[str], **overrides: Any
) -> AsyncIterator[Stage]:
    async with (
        running_server(database_url, **overrides) as server,
        running_proxy(("127.0.0.1", server.port)) as cable,
        ClientSession() as http,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        detour = f"http://127.0.0.1:{cable.port}"
        sockets = [
            await js.open(url, person, transports=transports)
            for url, person in (
                (detour, chat.tenant),
                (server.base_url, chat.tenant),
                (server.base_url, chat.landlord),
                (server.base_url, chat.landlord),
            )
        ]
        for socket in sockets:
            await socket.heard("connect")
        yield Stage(server, rest, js, transports, chat, cable, *sockets)
        await js.reset()
