"""Many people who write all the time, and what became of each message."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
from aiohttp import ClientSession, TCPConnector

from tests.chaos.faults.records import ENOUGH
from tests.chaos.faults.sites import PATIENCE, Site
from tests.chaos.faults.virtual_users import LOST, VirtualUser
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.services import connected
from tests.system.e2e.node_client import JsSocket

CHATS = 12
SENDERS = 2
"""Messages that each device has under way at most."""

PAUSE = 0.5
"""Seconds, on average, between two messages of a sender."""

Say = Callable[[dict[str, Any]], Awaitable[Any]]
"""Sends a message once and answers its acknowledgement, or raises one of LOST."""


@dataclass(slots=True)
class Send:
    """A message that somebody wants sent, from the first attempt to the acknowledgement."""

    chat: Chat
    by_rest: bool = False
    begun_at: float = field(default_factory=time.monotonic)
    key: str = field(default_factory=lambda: str(uuid4()))
    attempts: int = 0
    unanswered: int = 0
    is_duplicate: bool = False
    """Whether it was stored by an attempt before the one that was acknowledged."""
    refusals: list[dict[str, Any]] = field(default_factory=list)
    acknowledged_at: float | None = None
    id: str = ""
    seq: int = 0

    @property
    def parts(self) -> dict[str, Any]:
        return {"content": f"hello {self.key}", "client_msg_id": self.key}

    @property
    def ended_at(self) -> float:
        """When it was acknowledged."""
        return float("inf") if self.acknowledged_at is None else self.acknowledged_at

    @property
    def seconds(self) -> float:
        """To the acknowledgement; for ever without one."""
        return self.ended_at - self.begun_at

    def acknowledge(self, answer: Any) -> None:
        self.is_duplicate = answer["duplicate"]
        self.id, self.seq = answer["message"]["id"], answer["message"]["seq"]
        self.acknowledged_at = time.monotonic()


@dataclass(slots=True)
class Window:
    """While something was broken, in seconds of `time.monotonic`."""

    began_at: float
    ended_at: float = float("inf")

    def overlaps(self, send: Send) -> bool:
        return send.begun_at < self.ended_at and send.ended_at > self.began_at


class LoadGenerator:
    """`users` are two for each of `chats`; `sends` all that was begun so far."""

    def __init__(self, database_url: str) -> None:
        self.chats: list[Chat] = []
        self.users: list[VirtualUser] = []
        self.sends: list[Send] = []
        self.complaints: list[str] = []
        self._database_url = database_url
        self._is_over = False
        self._senders: list[asyncio.Task[None]] = []

    # Writing

    def start_sender(
        self, chat: Chat, say: Say, pause: float = PAUSE, *, by_rest: bool = False
    ) -> None:
        """Somebody who sends one message after another until `settle`."""
        self._senders.append(asyncio.create_task(self._keep_sending(chat, say, pause, by_rest)))

    async def _keep_sending(self, chat: Chat, say: Say, pause: float, by_rest: bool) -> None:
        while not self._is_over:
            send = Send(chat, by_rest)
            self.sends.append(send)
            while send.acknowledged_at is None:  # noqa: ASYNC110
                await asyncio.sleep(await self._attempt(send, say))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    async def _attempt(self, send: Send, say: Say) -> float:
        """Try once: the seconds until the next attempt, if one is needed."""
        send.attempts += 1
        try:
            answer = await say(send.parts)
        except LOST:
            send.unanswered += 1
            return random.uniform(0.1, 0.5)
        if answer["ok"]:
            send.acknowledge(answer)
            return 0.0
        send.refusals.append(answer["error"])
        if not answer["error"]["retryable"]:
            self.complaints.append(f"refused for ever: {answer['error']}")
        return float(answer["error"].get("retry_after", 0.3))

    # Measuring

    @contextmanager
    def window(self) -> Iterator[Window]:
        """While the body runs, something is broken."""
        window = Window(time.monotonic())
        yield window
        window.ended_at = time.monotonic()

    def overlapping(self, window: Window) -> list[Send]:
        """What was begun, or still without an acknowledgement, during the window."""
        return [send for send in self.sends if window.overlaps(send)]

    async def until_enough(self, window: Window) -> None:
        """Until so much was sent during the window that it shows something."""
        async with asyncio.timeout(PATIENCE):
            while len(self.overlapping(window)) < ENOUGH:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def stored_keys(self) -> set[str]:
        """Of all that is stored now."""
        return {str(row["client_msg_id"]) for chat in self.chats for row in await self._rows(chat)}

    def lateness(self, sends: Sequence[Send]) -> float:
        """The longest that a device had to wait for any of these after its acknowledgement.

        To be asked after `settle`.
        """
        by_chat: dict[str, list[VirtualUser]] = {chat.id: [] for chat in self.chats}
        for user in self.users:
            by_chat[user.chat.id].append(user)
        return max(
            user.applied[send.seq] - send.ended_at
            for send in sends
            for user in by_chat[send.chat.id]
        )

    def away(self, window: Window) -> list[float]:
        """How long each user who lost its connection since the window began was away."""
        return [
            seconds
            for user in self.users
            for until, seconds in user.away
            if until - seconds >= window.began_at
        ]

    async def until_ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(user.wait_ready() for user in self.users))

    async def level(self) -> float:
        """Wait until every device is connected and holds all that is stored now: the seconds."""
        began_at = time.monotonic()
        stored = {chat.id: len(await self._rows(chat)) for chat in self.chats}
        async with asyncio.timeout(PATIENCE):
            while not all(  # noqa: ASYNC110
                user.is_ready and user.last_seq >= stored[user.chat.id] for user in self.users
            ):
                await asyncio.sleep(0.02)
        return time.monotonic() - began_at

    # The end

    async def settle(self) -> None:
        """Let everybody finish; then every device must hold what is stored, and no more."""
        await self.stop_sending()
        await self.level()
        assert not self.complaints, self.complaints[:5]
        for chat in self.chats:
            self._check(chat, await self._rows(chat))

    async def stop_sending(self) -> None:
        """Until the last message of everybody is acknowledged."""
        self._is_over = True
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._senders)

    def _check(self, chat: Chat, rows: Sequence[asyncpg.Record]) -> None:
        """Acknowledged is what is stored, once; numbered without a gap; and on each device."""
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        stored = {str(row["client_msg_id"]): (str(row["id"]), row["seq"]) for row in rows}
        assert len(stored) == len(rows), "a message is stored twice"
        sent = {send.key: (send.id, send.seq) for send in self.sends if send.chat is chat}
        assert stored == sent, "what was acknowledged is not what is stored"
        log = [(row["seq"], str(row["id"])) for row in rows]
        for user in self.users:
            if user.chat is chat:
                assert user.held is not None
                assert user.held.log == log

    async def _rows(self, chat: Chat) -> list[asyncpg.Record]:
        async with connected(self._database_url) as connection:
            return await connection.fetch(
                "SELECT id, seq, client_msg_id FROM chat.messages"
                " WHERE conversation_id = $1 ORDER BY seq",
                chat.id,
            )

    async def close(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        for user in self.users:
            await user.close()


def slowest(sends: Sequence[Send]) -> float:
    """The longest that somebody saw "sending" before "sent", in seconds."""
    return max((send.seconds for send in sends), default=0.0)


def p99(sends: Sequence[Send]) -> float:
    """Of the seconds to the acknowledgement."""
    return quantile([send.seconds for send in sends], 0.99)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    if not values:
        return 0.0
    return float(sorted(values)[max(0, round(share * len(values)) - 1)])


def over_rest(rest: Rest, chat: Chat) -> Say:
    """The landlord sends by REST."""

    async def say(parts: dict[str, Any]) -> Any:
        answer = await rest.send(chat.landlord, chat.id, **parts)
        if answer.status in (200, 201):
            return {"ok": True, "message": answer.body, "duplicate": answer.status == 200}
        return {"ok": False, "error": answer.body}

    return say


def over_socket(socket: Device | JsSocket, chat: Chat) -> Say:
    return lambda parts: socket.call("message", {"conversation_id": chat.id, **parts})


@asynccontextmanager
async def running_load(site: Site, chats: int = CHATS) -> AsyncIterator[LoadGenerator]:
    """All connected and writing. Every other conversation comes by HAProxy; the people
    of the rest are each straight on another node, and go to the next when that is gone.
    """
    load = LoadGenerator(site.database_url)
    urls = [node.base_url for node in site.nodes]
    async with AsyncExitStack() as stack:
        connector = TCPConnector(limit=0)
        http = await stack.enter_async_context(ClientSession(connector=connector))
        stack.push_async_callback(load.close)
        rest = Rest(http, site.url)
        for number in range(chats):
            chat = await open_chat(rest, site.database_url)
            load.chats.append(chat)
            for index, person in enumerate(chat.people):
                first = (number // 2 + index) % len(urls)
                own = [site.url] if number % 2 else urls[first:] + urls[:first]
                user = VirtualUser(http, person, chat, own, load.complaints.append)
                load.users.append(user)
                for _ in range(SENDERS):
                    load.start_sender(chat, user.say)
            load.start_sender(chat, over_rest(rest, chat), by_rest=True)
        await load.until_ready()
        yield load
