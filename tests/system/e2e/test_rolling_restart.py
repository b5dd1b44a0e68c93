"""Nodes restarted one after another behind a balancer, while people go on sending."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from aiohttp import ClientError, ClientSession, TCPConnector

from chatserver.dev.ports import free_port
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.processes import ServerProcess, serving
from tests.kit.proxy import Proxy, running_proxy
from tests.kit.services import connected
from tests.system.e2e.node_client import JsSocket, NodeClient

DRAIN: Final = {"server__drain_delay": 5.0, "server__drain_spread": 1.5}
"""Time enough to notice it and to send new connections elsewhere."""

Say = Callable[[dict[str, Any]], Awaitable[Any]]
"""Sends a message once and answers its acknowledgement; raises when there is none."""


@dataclass
class Outbox:
    """Sends message after message, each with its key until it is acknowledged."""

    chat: Chat
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def keep_sending(self, say: Say, stop: asyncio.Event) -> None:
        while not stop.is_set():
            key = str(uuid4())
            while not await self._try(say, key):  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # and try again
            await asyncio.sleep(0.05)

    async def _try(self, say: Say, key: str) -> bool:
        parts = {"conversation_id": self.chat.id, "content": "hello", "client_msg_id": key}
        try:
            answer = await say(parts)
        except (OSError, ClientError, RuntimeError, TimeoutError):
            return False
        assert answer["ok"], answer
        self.acknowledged[key] = (answer["message"]["id"], answer["message"]["seq"])
        return True


class Returning:
    """A plain websocket that is opened again, after a short random wait, when it is lost."""

    def __init__(self, http: ClientSession, url: str, chat: Chat) -> None:
        self._http, self._url, self._chat = http, url, chat
        self._device: Device | None = None
        self.opened = 0

    async def say(self, parts: dict[str, Any]) -> Any:
        if self._device is None or self._device.is_closed.is_set():
            self._device = None
            self._device = await Device.open(self._http, self._url, self._chat.tenant)
            self.opened += 1
        return await self._device.call("message", parts)

    async def close(self) -> None:
        if self._device is not None:
            await self._device.close()


def over_js(socket: JsSocket) -> Say:
    return lambda parts: socket.call("message", parts)


def over_rest(rest: Rest, chat: Chat, failures: list[str]) -> Say:
    async def say(parts: dict[str, Any]) -> Any:
        try:
            answer = await rest.post(
                f"conversations/{chat.id}/messages",
                chat.landlord,
                {name: parts[name] for name in ("content", "client_msg_id")},
            )
        except (OSError, ClientError) as error:
            failures.append(repr(error))
            raise
        if answer.status != 201:
            failures.append(str(answer))
        return {"ok": answer.status in (200, 201), "message": answer.body}

    return say


async def balance(proxy: Proxy, nodes: Sequence[ServerProcess]) -> None:
    """Send new connections to the first node whose /readyz says so, asked all the time."""
    while True:
        for node in nodes:
            with suppress(ClientError, TimeoutError):
                async with ClientSession() as http:  # on a connection of its own, as a probe
                    if (await Rest(http, node.base_url).get("/readyz")).status == 200:
                        proxy.upstream = ("127.0.0.1", int(node.base_url.rpartition(":")[2]))
                        break
        await asyncio.sleep(0.05)


@asynccontextmanager
async def balanced(proxy: Proxy, *nodes: ServerProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(balance(proxy, nodes))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def restart(node: ServerProcess) -> None:
    node.terminate()
    assert await node.exit_code() == 0
    await asyncio.sleep(1)


async def stored(database_url: str, chat: Chat) -> dict[str, tuple[str, int]]:
    async with connected(database_url) as connection:
        rows = await connection.fetch(
            "SELECT client_msg_id, id, seq FROM chat.messages WHERE conversation_id = $1", chat.id
        )
    assert sorted(row["seq"] for row in rows) == list(range(1, len(rows) + 1))
    found = {str(row["client_msg_id"]): (str(row["id"]), row["seq"]) for row in rows}
    assert len(found) == len(rows)
    return found


async def test_two_nodes_restarted_in_turn_lose_no_send_and_no_client(
    js: NodeClient, database_url: str, tmp_path: Path
) -> None:
    first_port, second_port = free_port(), free_port()
    stop, failures = asyncio.Event(), list[str]()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        http = await enter(ClientSession(connector=TCPConnector(limit=0)))
        second = await enter(serving(database_url, second_port, tmp_path, **DRAIN))
        async with serving(database_url, first_port, tmp_path, **DRAIN) as first:
            proxy = await enter(running_proxy(("127.0.0.1", first_port)))
            url = f"http://127.0.0.1:{proxy.port}"
            rest = Rest(http, url)
            chats = [await open_chat(rest, database_url) for _ in range(4)]
            outboxes, says = list[Outbox](), list[Say]()
            devices, sockets = list[Returning](), list[JsSocket]()
            for number, chat in enumerate(chats):
                for _ in range(5):
                    device = Returning(http, url, chat)
                    devices.append(device)
                    stack.push_async_callback(device.close)
                    says.append(device.say)
                # socket.io-client as it comes: it waits 0.5 to 1.5 s.
                defaults = {"reconnectionDelay": 1000, "reconnectionDelayMax": 5000}
                transports = [["websocket"], ["polling"]][number % 2]
                socket = await js.connected(url, chat.tenant, transports=transports, **defaults)
                sockets.append(socket)
                says += [over_js(socket), over_rest(rest, chat, failures)]
                outboxes += [Outbox(chat) for _ in range(7)]
            senders = [
                asyncio.create_task(outbox.keep_sending(say, stop))
                for outbox, say in zip(outboxes, says, strict=True)
            ]
            async with balanced(proxy, first, second):
                await asyncio.sleep(0.5)
                await restart(first)
        first = await enter(serving(database_url, first_port, tmp_path, **DRAIN))
        async with balanced(proxy, second, first):
            await restart(second)
        stop.set()
        await asyncio.gather(*senders)
        await js.reset()
    assert failures == []
    assert {device.opened for device in devices} == {3}
    assert {len(socket.of("connect")) for socket in sockets} == {3}
    for chat in chats:
        acknowledged = dict[str, tuple[str, int]]()
        for outbox in outboxes:
            if outbox.chat is chat:
                acknowledged |= outbox.acknowledged
        assert await stored(database_url, chat) == acknowledged
