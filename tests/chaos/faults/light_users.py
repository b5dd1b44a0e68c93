"""Light virtual users, thousands in one process: each comes back and into sync, no more."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession

from tests.chaos.checker.sessions import Lost, SocketSession

RECONNECT = (0.1, 1.0)
"""Between these many seconds, at random, before each attempt."""

PATIENCE = 60.0
"""Seconds that a connection or an answer may take: as many come as there are."""


class LightUser:
    """A socket that comes back, connects and asks `sync`; `synced_at` is None meanwhile.

    `seq` is the newest message that it knows of, in its one conversation.
    """

    def __init__(self, http: ClientSession, token: str, url: str) -> None:
        self.url = url
        self.synced_at: float | None = None
        self.seq = 0
        self._http = http
        self._token = token
        self._asked: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, wait: float = 0.0) -> None:
        """Connect after `wait` seconds, and again until it works."""
        self._task = asyncio.create_task(self._stay_connected(wait))

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _stay_connected(self, wait: float) -> None:
        while True:
            await asyncio.sleep(wait)
            try:
                await self._connect()
            except (OSError, TimeoutError, Lost):
                wait = random.uniform(*RECONNECT)
            finally:
                self.synced_at = None

    async def _connect(self) -> None:
        """One connection, to its end, which is an error."""
        session = SocketSession(self._hear, lambda _: None, PATIENCE)
        port = urlsplit(self.url).port or 0
        try:
            await session.open(self._http, port, "websocket", self._token)
            answer = await session.call("sync", self._asked)
            if answer["ok"]:
                self._asked["cursor"] = answer["cursor"]
                seqs = [each["last_seq"] for each in answer["conversations"]]
                self.seq = max([self.seq, *seqs])
                self.synced_at = time.monotonic()
                await session.wait_ended()
            else:
                assert answer["error"]["retryable"], answer
        finally:
            session.close()
        raise ConnectionError

    def _hear(self, event: str, payload: Any) -> None:
        if event == "message":
            self.seq = max(self.seq, payload["seq"])


async def until_synced(users: Sequence[LightUser], seconds: float) -> float:
    """Until all are connected and in sync: the moment at which the last one was."""
    async with asyncio.timeout(seconds):
        while any(user.synced_at is None for user in users):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return max(user.synced_at or 0.0 for user in users)
