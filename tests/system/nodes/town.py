"""Two nodes in this process, and a tenant and a landlord who are on different ones."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession

from tests.kit.app import Person, RunningServer, running_server
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.proxy import Proxy, running_proxy
from tests.kit.waiting import eventually


@dataclass
class Town:
    """The tenant is on the first node, the landlord on the second.

    `cables[n]` is the connection of node n to Redis.
    """

    nodes: list[RunningServer]
    cables: list[Proxy]
    rests: list[Rest]
    http: ClientSession
    chat: Chat
    tenant: Device
    landlord: Device

    async def device(self, node: int, person: Person) -> Device:
        return await Device.open(self.http, self.nodes[node].base_url, person)

    async def send(self, content: str = "hello") -> None:
        """From the tenant; it is acknowledged."""
        message = {"conversation_id": self.chat.id, "content": content}
        answer = await self.tenant.call("message", message)
        assert answer["ok"], answer

    def hears(self, node: int) -> bool:
        bus = self.nodes[node].node.backplane.bus
        assert bus is not None
        return bus.is_receiving


@asynccontextmanager
async def running_town(database_url: str, redis_port: int, **settings: Any) -> AsyncIterator[Town]:
    """`settings` are for both nodes."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession())
        cables, nodes = [], []
        for _ in range(2):
            cable = await stack.enter_async_context(running_proxy(("127.0.0.1", redis_port)))
            url = f"redis://127.0.0.1:{cable.port}"
            cables.append(cable)
            nodes.append(
                await stack.enter_async_context(
                    running_server(database_url, redis__url=url, **settings)
                )
            )
        rests = [Rest(http, node.base_url) for node in nodes]
        chat = await open_chat(rests[0], database_url)
        tenant = await Device.open(http, nodes[0].base_url, chat.tenant)
        landlord = await Device.open(http, nodes[1].base_url, chat.landlord)
        town = Town(nodes, cables, rests, http, chat, tenant, landlord)
        await eventually(lambda: town.hears(0) and town.hears(1))
        yield town
        await tenant.close()
        await landlord.close()
