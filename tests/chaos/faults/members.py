"""One person with one device, which does what the contract asks of a client and no more."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import ClientError, ClientSession

from tests.chaos.checker.replicas import Chat as HeldChat
from tests.chaos.checker.replicas import Replica
from tests.kit.app import Person
from tests.kit.clients import Chat, Device, Rest

GAP_PATIENCE = 0.25
"""Seconds that a device waits for missing events before it asks."""

RECONNECT = (0.1, 1.0)
"""Between these many seconds pass, at random, before each attempt to connect."""

LOST = (OSError, ClientError, TimeoutError)
"""What may happen to anybody whose server is in trouble (OSError: refused, reset)."""


class Member:
    """Stays connected to the first of `urls` that lets it, and in sync.

    `applied` has the moment at which each message of the conversation was applied, by
    seq; `away` how long each time without a connection in sync was, as (until, seconds).
    """

    def __init__(
        self,
        http: ClientSession,
        person: Person,
        chat: Chat,
        urls: Sequence[str],
        complain: Callable[[str], None],
    ) -> None:
        self.person = person
        self.chat = chat
        self.applied: dict[int, float] = {}
        self.away: list[tuple[float, float]] = []
        self.replica = Replica(str(person.id), lambda _, what, where: complain(f"{where}: {what}"))
        self._http = http
        self._urls = deque(urls)
        self._device: Device | None = None
        self._cursor: str | None = None
        self._lost_at = time.monotonic()
        self._ready = asyncio.Event()
        self._behind = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    @property
    def held(self) -> HeldChat | None:
        """The conversation as the device has it."""
        return self.replica.find(self.chat.id)

    @property
    def last_seq(self) -> int:
        return 0 if self.held is None else self.held.last_seq

    @property
    def is_ready(self) -> bool:
        """Whether it is connected and in sync since it is."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def say(self, parts: dict[str, Any]) -> Any:
        """The acknowledgement; one of LOST when there is none."""
        await self._ready.wait()
        assert self._device is not None
        return await self._device.call("message", {"conversation_id": self.chat.id, **parts})

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(asyncio.CancelledError):
            self._task.result()  # Whatever ended it otherwise is a fault of the test.

    async def _live(self) -> None:
        while True:
            with suppress(*LOST):
                await self._connect()
            if self._ready.is_set():
                self._lost_at = time.monotonic()
                self._ready.clear()
            self._urls.rotate(-1)
            await asyncio.sleep(random.uniform(*RECONNECT))

    async def _connect(self) -> None:
        """One connection, to its end."""
        device = await Device.open(self._http, self._urls[0], self.person)
        for event in device.events:
            self._hear(*event)
        device.on_event = self._hear
        self._device = device
        healing = asyncio.create_task(self._heal(device))
        try:
            await device.is_closed.wait()
        finally:
            healing.cancel()
            await asyncio.wait([healing])
            await device.close()
        if not healing.cancelled():
            healing.result()

    async def _heal(self, device: Device) -> None:
        """Sync after connecting, and whenever something is missing."""
        await self._sync(device)
        now = time.monotonic()
        self.away.append((now, now - self._lost_at))
        self._ready.set()
        while True:
            if not self.replica.behind():
                self._behind.clear()
                await self._behind.wait()
            await asyncio.sleep(GAP_PATIENCE)
            if self.replica.behind():
                await self._sync(device)

    def _hear(self, event: str, payload: Any) -> None:
        if self.replica.hear(event, payload) is not None:
            self._behind.set()
        self._note()

    def _note(self) -> None:
        for seq in range(len(self.applied) + 1, self.last_seq + 1):
            self.applied[seq] = time.monotonic()

    async def _sync(self, device: Device) -> None:
        """Until the server has answered. ConnectionError: the connection has ended."""
        while True:
            asked: dict[str, Any] = {"open": self.replica.sync_state([self.chat.id])}
            if self._cursor is not None:
                asked["cursor"] = self._cursor
            with suppress(TimeoutError):
                answer = await device.call("sync", asked)
                if answer["ok"]:
                    return await self._take(answer, device)
                assert answer["error"]["retryable"], answer
            await asyncio.sleep(random.uniform(*RECONNECT))

    async def _take(self, answer: dict[str, Any], device: Device) -> None:
        assert not answer["has_more"], "there is one conversation"
        self._cursor = answer["cursor"]
        for synced in answer["conversations"]:
            self.replica.take(synced)
        held = self.held
        while held is not None and held.unfinished is not None:
            await self._page(held)
        self._note()

    async def _page(self, held: HeldChat) -> None:
        """A page of what was too much for `sync`."""
        rest, seq = Rest(self._http, self._urls[0]), held.last_seq
        answer = await rest.get(
            f"conversations/{held.id}/messages?after_seq={seq}&limit=100", self.person
        )
        if answer.status == 200 and held.unfinished is not None:
            wanted = held.unfinished["last_seq"]
            held_then = seq + len(answer.body)
            self.replica.take_page(held, answer.body, is_last=held_then >= wanted)
        else:
            await asyncio.sleep(random.uniform(*RECONNECT))
