"""The outbox: what is to be sent stays in it until it is acknowledged."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from tests.chaos.checker.clients import UNCERTAIN, Client
from tests.chaos.checker.histories import History, Write
from tests.chaos.checker.sessions import Lost

RETRY = (0.05, 0.4)
"""Between which times an attempt is repeated, in seconds."""


@dataclass(slots=True)
class Outgoing:
    """A message in the outbox. `is_once`: it is not repeated when no answer comes."""

    write: Write
    body: dict[str, Any]
    transport: str
    twist: str


class Outbox:
    """A device's messages, sent one after the other; it survives whatever happens."""

    def __init__(self, client: Client, history: History, rng: random.Random) -> None:
        self._client = client
        self._history = history
        self._rng = rng
        self._waiting: deque[Outgoing] = deque()
        self._has_outgoing = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, outgoing: Outgoing) -> None:
        self._waiting.append(outgoing)
        self._has_outgoing.set()

    async def run(self) -> None:
        """The outbox, in order: each message is repeated until it is acknowledged or refused."""
        while True:
            await self._has_outgoing.wait()
            while self._waiting:
                if await self._send(self._waiting[0]):
                    self._waiting.popleft()
                else:
                    await asyncio.sleep(self._rng.uniform(*RETRY))
            self._has_outgoing.clear()

    async def _send(self, outgoing: Outgoing) -> bool:
        """Try once; whether that was the last time."""
        if outgoing.transport == "socket" and not self._client.is_connected:
            return False
        if outgoing.twist == "everywhere":
            return await self._send_everywhere(outgoing)
        if outgoing.twist == "twice":
            first = asyncio.ensure_future(self._try(outgoing, "rest"))
            done = await self._try(outgoing, outgoing.transport)
            return await first and done
        return await self._try(outgoing, outgoing.transport) or outgoing.twist in (
            "once",
            "unkeyed",
        )

    async def _send_everywhere(self, outgoing: Outgoing) -> bool:
        """Through every node at once; whether one of them answered."""
        ways = [self._try(outgoing, "rest", port) for port in self._client.ports]
        return any(await asyncio.gather(self._try(outgoing, outgoing.transport), *ways))

    async def _try(self, outgoing: Outgoing, transport: str, port: int | None = None) -> bool:
        write, history = outgoing.write, self._history
        history.begin(write)
        try:
            answer = await self._client.send(transport, write.chat, outgoing.body, port=port)
        except Lost:
            history.lose(write)
            return False
        if answer.is_ok:
            history.acknowledge(write, answer.body["message"])
            return True
        if answer.code in UNCERTAIN:
            if answer.code == "internal_error":
                self._history.complain(
                    0,
                    "a send was answered with internal_error",
                    chat=write.chat,
                    device=write.device,
                )
            history.lose(write)
            return False
        history.refuse(write, answer.code)
        return True
