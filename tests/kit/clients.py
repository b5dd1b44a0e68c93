"""Clients of tests: a REST caller, and a socket that keeps every event."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.kit.app import Person, add_listing, add_person
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import Listener

TIMEOUT = PATIENCE
"""Seconds that a test waits for what should come at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Response to a request; `body` is the JSON, or None where there is none."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Rest:
    """Calls the REST API of one server for anyone."""

    def __init__(self, http: ClientSession, base_url: str) -> None:
        self._http = http
        self.base_url = base_url

    async def call(
        self,
        method: str,
        path: str,
        caller: Person | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path` is below /api/chat unless it begins with a slash."""
        url = self.base_url + (path if path.startswith("/") else f"/api/chat/{path}")
        sent = dict(headers or {})
        if caller is not None:
            sent["Authorization"] = f"Bearer {caller.token()}"
        async with self._http.request(method, url, json=body, headers=sent) as response:
            text = await response.text()
            is_json = "json" in response.content_type
            return Answer(response.status, json.loads(text) if is_json else None, response.headers)

    async def post(self, path: str, caller: Person, body: Any = None) -> Answer:
        return await self.call("POST", path, caller, body)

    async def get(self, path: str, caller: Person | None = None) -> Answer:
        return await self.call("GET", path, caller)

    async def send(self, caller: Person, conversation_id: str, **parts: Any) -> Answer:
        return await self.post(f"conversations/{conversation_id}/messages", caller, parts)


def _ignore(*_: Any) -> None:
    """Nobody wants to know."""


class Device(Listener):
    """A connected socket that remembers every event.

    It speaks the protocol by hand, so that it can say what no client library would.
    """

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.sid = ""
        self.is_closed = asyncio.Event()
        self.on_event: Callable[[str, Any], None] = _ignore
        """Called with the name and the payload of each event from now on."""
        self._ws = ws
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._connected: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, http: ClientSession, base_url: str, person: Person, token: str | None = None
    ) -> Self:
        """`token` is one of the person's, if not an ordinary one.

        Raises ConnectionRefusedError with the error object.
        """
        ws = await http.ws_connect(f"{base_url}/socket.io/?EIO=4&transport=websocket")
        device = cls(ws)
        await device.send_raw("40" + json.dumps({"token": token or person.token()}))
        async with asyncio.timeout(TIMEOUT):
            await device._connected
        return device

    async def close(self) -> None:
        await self._ws.close()
        await self._reader

    @property
    def close_code(self) -> int | None:
        """The code with which the websocket was closed."""
        return self._ws.close_code

    async def send_raw(self, packet: str) -> None:
        """Send a packet of Engine.IO as it is."""
        await self._ws.send_str(packet)

    async def emit(self, event: str, *args: Any) -> None:
        """An event without an acknowledgement."""
        await self.send_raw("42" + json.dumps([event, *args]))

    async def call(self, event: str, *args: Any) -> Any:
        """The acknowledgement. Raises ConnectionError when the socket closes instead."""
        return await self.call_raw(json.dumps([event, *args]))

    async def call_raw(self, payload: str) -> Any:
        """Like `call`, with the JSON array written out by the caller."""
        self._next_id += 1
        answer = self._answers[self._next_id] = asyncio.get_running_loop().create_future()
        await self.send_raw(f"42{self._next_id}{payload}")
        async with asyncio.timeout(TIMEOUT):
            return await answer

    def of(self, kind: str) -> list[Any]:
        """The payloads of all events of that name so far, in order."""
        return [payload for name, payload in self.events if name == kind]

    def _latest(self) -> str:
        return str([name for name, _ in self.events[-20:]])

    async def _read(self) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.TEXT:
                await self._take(message.data)
        self.is_closed.set()
        for answer in (*self._answers.values(), self._connected):
            if not answer.done():
                answer.set_exception(ConnectionError("the socket has closed"))
                answer.exception()  # Nobody may be waiting for it.

    async def _take(self, packet: str) -> None:
        kind, body = packet[:2], packet[2:]
        if packet == "2":
            with suppress(ConnectionError):
                await self._ws.send_str("3")
        elif kind == "40":
            self.sid = json.loads(body)["sid"]
            self._connected.set_result(None)
        elif kind == "42":
            name, *args = json.loads(body)
            payload = args[0] if len(args) == 1 else args
            self.events.append((name, payload))
            self.on_event(name, payload)
        elif kind == "43":
            number, _, payload = body.partition("[")
            answer = self._answers.pop(int(number), None)
            if answer is not None and not answer.done():  # else who asked has given up
                answer.set_result(json.loads("[" + payload)[0])
        elif kind == "44" and body.startswith("{"):
            self._connected.set_exception(ConnectionRefusedError(json.loads(body)["data"]))
        self._notify()


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, and the two who hold it."""

    id: str
    tenant: Person
    landlord: Person
    listing_id: UUID

    @property
    def people(self) -> tuple[Person, Person]:
        return self.tenant, self.landlord


async def open_chat(rest: Rest, database_url: str) -> Chat:
    """A new conversation of two new people about a new listing."""
    tenant, landlord = await add_person(database_url), await add_person(database_url)
    listing_id = await add_listing(database_url, landlord)
    opened = await rest.post("conversations", tenant, {"listing_id": str(listing_id)})
    assert opened.status == 201, opened
    return Chat(opened.body["id"], tenant, landlord, listing_id)


@asynccontextmanager
async def opened(base_url: str, *people: Person) -> AsyncIterator[list[Device]]:
    """A device for each of `people`, in order; one person may have several."""
    async with ClientSession() as http:
        devices = [await Device.open(http, base_url, person) for person in people]
        try:
            yield devices
        finally:
            for device in devices:
                await device.close()
