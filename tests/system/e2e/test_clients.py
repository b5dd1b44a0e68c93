"""Versions of Socket.IO clients, on every transport: chat, bursts, and servers that end.

All of them talk to one node at once, each in a conversation of its own. `make test` tries
the oldest and the newest of each family, `make clients` all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.clients import TIMEOUT, Chat, Rest, open_chat
from tests.kit.processes import ServerProcess, serving
from tests.system.e2e.client_process import ClientProcess, ClientSocket
from tests.system.e2e.stage import TRANSPORTS
from tests.system.e2e.versions import VERSIONS, Version, running_versions

BURST = 60
Processes = dict[str | None, ClientProcess]


@dataclass(frozen=True)
class Tried:
    """A version on some transports: the tenant of `chat`, whose landlord calls `rest`."""

    version: Version
    transports: list[str]
    socket: ClientSocket
    chat: Chat
    rest: Rest

    @property
    def id(self) -> dict[str, str]:
        return {"conversation_id": self.chat.id}

    async def send(self, content: str, key: str) -> Any:
        """The acknowledgement, which is a success."""
        return await self.socket.ok(
            "message", {**self.id, "content": content, "client_msg_id": key}
        )

    def texts(self) -> list[str]:
        """Of the messages that it has heard."""
        return [message["content"] for message in self.socket.of("message")]

    async def history(self) -> list[Any]:
        """All messages, oldest first."""
        path = f"conversations/{self.chat.id}/messages?after_seq=0&limit=100"
        messages: list[Any] = (await self.rest.get(path, self.chat.landlord)).body
        return messages


@pytest.fixture(scope="module")
async def processes() -> AsyncIterator[Processes]:
    async with running_versions() as processes:
        yield processes


@asynccontextmanager
async def connected(
    processes: Processes, server: ServerProcess, database_url: str
) -> AsyncIterator[list[Tried]]:
    """Every version on every transport."""
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)

        async def connect(version: Version, transports: list[str]) -> Tried:
            chat = await open_chat(rest, database_url)
            socket = await processes[version.python].open(
                server.base_url,
                transports=transports,
                **version.credentials(chat.tenant),
                **version.options,
            )
            await socket.heard("connect")
            return Tried(version, transports, socket, chat, rest)

        yield await asyncio.gather(*starmap(connect, product(VERSIONS, TRANSPORTS)))
        for process in processes.values():
            await process.reset()


async def each(tried: list[Tried], deed: Callable[[Tried], Awaitable[None]]) -> None:
    """All at once; tells of each that failed why."""
    results = await asyncio.gather(*map(deed, tried), return_exceptions=True)
    failures = [
        f"{one.version.name}, {'+'.join(one.transports)}: {result!r}"
        for one, result in zip(tried, results, strict=True)
        if result is not None
    ]
    assert not failures, "\n".join(failures)


async def chat(tried: Tried) -> None:
    """Join, send, receive, receipts of both."""
    socket, landlord = tried.socket, tried.chat.landlord
    assert (await socket.ok("join", tried.id))["conversation"]["id"] == tried.chat.id
    sent = (await tried.send("Is it free?", str(uuid4())))["message"]
    assert await socket.heard("message") == sent
    read = await tried.rest.post(f"messages/{sent['id']}/read", landlord)
    assert read.status == 200
    receipt = await socket.heard("read_receipt")
    assert (receipt["seq"], receipt["read_by"]) == (1, str(landlord.id))
    answer = (await tried.rest.send(landlord, tried.chat.id, content="Yes. Ñandú \U0001f600")).body
    heard = await socket.heard("message", 2)
    assert (heard["id"], heard["content"]) == (answer["id"], answer["content"])
    assert (await socket.heard("unread"))["unread_count"] == 1
    await socket.ok("delivered", {**tried.id, "seq": 2})
    assert (await socket.heard("delivery_receipt"))["delivered_to"] == str(tried.chat.tenant.id)
    assert (await socket.ok("read", {**tried.id, "seq": 2}))["unread_count"] == 0
    assert (await socket.heard("read_receipt", 2))["read_by"] == str(tried.chat.tenant.id)
    assert await socket.code("message", {**tried.id, "content": ""}) == "invalid_payload"
    assert [message["status"] for message in await tried.history()] == ["read", "read"]
    async with asyncio.timeout(TIMEOUT):
        # Those that upgrade have done so by now, or do so soon.
        while await socket.transport() != tried.transports[-1]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def send_a_burst(tried: Tried) -> None:
    before = len(tried.socket.of("message"))
    contents = [f"burst {number}" for number in range(BURST)]
    answers = await tried.socket.burst(
        "message", [{**tried.id, "content": content} for content in contents]
    )
    assert [answer["message"]["content"] for answer in answers] == contents
    await tried.socket.heard("message", before + BURST)
    heard = tried.socket.of("message")[before:]
    if tried.version.options.get("is_sync"):
        # It runs each handler in a thread of its own, so they report in any order.
        heard.sort(key=lambda message: int(message["seq"]))
    assert [message["content"] for message in heard] == contents


async def leave_and_return(tried: Tried) -> None:
    before = len(tried.socket.of("connect"))
    await tried.socket.reopen()
    await tried.socket.heard("connect", before + 1)
    await tried.socket.ok("join", tried.id)
    await tried.send("back", str(uuid4()))


async def test_they_chat_send_bursts_leave_and_return(
    processes: Processes, database_url: str, tmp_path: Path
) -> None:
    async with (
        serving(database_url, free_port(), tmp_path) as server,
        connected(processes, server, database_url) as tried,
    ):
        for deed in (chat, send_a_burst, leave_and_return):
            await each(tried, deed)


def key(tried: Tried, content: str) -> str:
    """The client_msg_id of a message: the same for each attempt."""
    return str(uuid5(UUID(tried.chat.id), content))


async def emit_and_forget(tried: Tried, content: str) -> None:
    """It may or may not arrive."""
    message = {**tried.id, "content": content, "client_msg_id": key(tried, content)}
    await tried.socket.emit("message", message)


async def test_they_come_back_by_themselves_and_what_they_repeat_is_stored_once(
    processes: Processes, database_url: str, tmp_path: Path
) -> None:
    port, contents = free_port(), list[str]()
    async with AsyncExitStack() as stack:

        async def start() -> ServerProcess:
            return await stack.enter_async_context(serving(database_url, port, tmp_path))

        server = await start()
        tried = await stack.enter_async_context(connected(processes, server, database_url))
        for connects, end in enumerate(("kill -9", "SIGTERM"), 2):
            answered, unanswered = f"answered before {end}", f"unanswered at {end}"

            async def send(it: Tried, content: str = answered) -> None:
                assert not (await it.send(content, key(it, content)))["duplicate"]

            async def emit(it: Tried, content: str = unanswered) -> None:
                await emit_and_forget(it, content)

            async def hear(it: Tried, content: str = unanswered) -> None:
                await it.socket.until(lambda _: content in it.texts())

            async def repeat(
                it: Tried, contents: tuple[str, str] = (answered, unanswered), count: int = connects
            ) -> None:
                await it.socket.heard("connect", count)
                await it.socket.ok("join", it.id)
                first, second = [await it.send(content, key(it, content)) for content in contents]
                assert first["duplicate"]
                assert second["message"]["seq"] == first["message"]["seq"] + 1

            await each(tried, send)
            await each(tried, emit)
            if end == "SIGTERM":
                # python-socketio 5.1 stays away for good if what is refused is a POST.
                await each(tried, hear)
                server.terminate()
                assert await server.exit_code() == 0
            else:
                server.kill()
            server = await start()
            await each(tried, repeat)
            contents += [answered, unanswered]

        async def has_all_once(it: Tried) -> None:
            history = await it.history()
            assert [message["content"] for message in history] == contents
            assert [message["seq"] for message in history] == [*range(1, len(contents) + 1)]
            heard = [message["id"] for message in it.socket.of("message")]
            assert len(set(heard)) == len(heard)

        await each(tried, has_all_once)
