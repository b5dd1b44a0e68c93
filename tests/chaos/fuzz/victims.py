"""Two people who chat while others send rubbish: each message arrives at both, in order."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kit.clients import Chat, Device, Rest, opened

PAUSE = 0.05
"""Seconds between two messages."""


class Victims:
    def __init__(self, chat: Chat, rest: Rest, devices: list[Device]) -> None:
        self.times: list[float] = []
        """Seconds that each acknowledgement took."""
        self.is_over = False
        self.failures: list[str] = []
        """What went wrong for them, known at the end: the report has all the rest then."""
        self._chat, self._rest, self._devices = chat, rest, devices

    @property
    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)] if self.times else 0.0

    async def chat(self) -> None:
        """Take turns until it is over."""
        while not self.is_over:
            number = len(self.times) + 1
            device = self._devices[number % 2]
            begun = time.monotonic()
            answer = await device.call(
                "message", {"conversation_id": self._chat.id, "content": f"{number}"}
            )
            self.times.append(time.monotonic() - begun)
            assert answer["ok"], answer
            assert answer["message"]["seq"] == number
            await asyncio.sleep(PAUSE)

    async def assert_level(self) -> None:
        """Both have heard all of it once and in order, and so it is stored."""
        expected = [f"{number + 1}" for number in range(len(self.times))]
        for device in self._devices:
            heard = await device.heard("message", len(expected))
            assert [message["content"] for message in heard] == expected
        stored = list[str]()
        while len(stored) < len(expected):
            path = f"conversations/{self._chat.id}/messages?limit=100&after_seq={len(stored)}"
            page = (await self._rest.get(path, self._chat.landlord)).body
            assert page
            stored += [message["content"] for message in page]
        assert stored == expected


@asynccontextmanager
async def chatting(rest: Rest, chat: Chat) -> AsyncIterator[Victims]:
    """They chat meanwhile; at the end nothing is missing, doubled or out of order."""
    async with opened(rest.base_url, *chat.people) as devices:
        victims = Victims(chat, rest, devices)
        talk = asyncio.create_task(victims.chat())
        try:
            yield victims
            victims.is_over = True
            try:
                await talk
                await victims.assert_level()
            except (AssertionError, ConnectionError, TimeoutError) as error:
                victims.failures.append(f"the two who chat, {len(victims.times)}: {error!r}")
        finally:
            talk.cancel()
