"""Senders that never stop, and what became of each thing that they sent."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import ClientError

from tests.kit.clients import Chat, Device, Rest
from tests.kit.services import connected

Send = Callable[[str], Coroutine[Any, Any, str | None]]


@dataclass
class Load:
    """Outcomes of sends: each `client_msg_id` is in one of the sets."""

    stored: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)

    async def keep_sending(self, send: Send, pause: float = 0.0) -> None:
        """Send one after the other, with `pause` seconds between, until the server is gone.

        `send` answers None for a stored message, else why it was not stored.
        """
        while True:
            key = str(uuid4())
            try:
                problem = await send(key)
            except (ConnectionError, ClientError):
                self.unanswered.add(key)
                return
            if problem is None:
                self.stored.add(key)
            else:
                self.refused[key] = problem
            await asyncio.sleep(pause)

    async def next_stored(self) -> None:
        """Wait until one more is stored."""
        before = len(self.stored)
        while len(self.stored) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def over_socket(device: Device, chat: Chat) -> Send:
    async def send(key: str) -> str | None:
        payload = {"conversation_id": chat.id, "content": "hello", "client_msg_id": key}
        answer = await device.call("message", payload)
        return None if answer["ok"] else str(answer["error"]["code"])

    return send


def over_rest(rest: Rest, chat: Chat) -> Send:
    async def send(key: str) -> str | None:
        answer = await rest.send(chat.tenant, chat.id, content="hello", client_msg_id=key)
        return None if answer.status == 201 else str(answer.body["code"])

    return send


async def stored_keys(database_url: str) -> set[str]:
    async with connected(database_url) as connection:
        rows = await connection.fetch("SELECT client_msg_id FROM chat.messages")
    return {str(row["client_msg_id"]) for row in rows}
