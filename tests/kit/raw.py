"""A client of the raw websocket that remembers every frame, as the seed's hook would see it."""

import asyncio
import json
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.kit.app import Person
from tests.kit.clients import TIMEOUT, Chat
from tests.kit.waiting import Listener


class RawDevice(Listener):
    """An open raw websocket; `close_code` once it has ended. Pings are answered inside."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        super().__init__()
        self.frames: list[dict[str, Any]] = []
        self.is_closed = asyncio.Event()
        self.ws = ws
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls,
        http: ClientSession,
        base_url: str,
        chat: Chat,
        person: Person,
        token: str | None = None,
        **headers: str,
    ) -> Self:
        """`token` is one of the person's, if not an ordinary one."""
        url = f"{base_url}/ws/chat/{chat.id}?token={token or person.token()}"
        return cls(await http.ws_connect(url, headers=headers))

    @property
    def close_code(self) -> int | None:
        return self.ws.close_code

    async def send(self, **frame: Any) -> None:
        await self.ws.send_str(json.dumps(frame))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The frames of that type so far, in order."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def _latest(self) -> str:
        return str(self.frames[-10:])

    async def ended(self) -> tuple[list[dict[str, Any]], int | None]:
        """Wait for the end: all frames, and the close code."""
        async with asyncio.timeout(TIMEOUT):
            await self.is_closed.wait()
        return self.frames, self.close_code

    async def close(self) -> None:
        await self.ws.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is WSMsgType.TEXT:
                self.frames.append(json.loads(message.data))
                self._notify()
        self.is_closed.set()
        self._notify()
