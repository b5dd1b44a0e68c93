"""A Socket.IO client in Python, independent of the server's code: websocket and long-polling."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, Self

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.chaos.checker.frames import WebSocketClient

OPEN_TIMEOUT = 5.0
CALL_TIMEOUT = 8.0


class Lost(Exception):
    """No answer came: whether the request did anything is unknown."""


class Refused(Exception):
    """The server refused the handshake; says with which code."""


class Transport(Protocol):
    """Engine.IO over a websocket or polling; `ended` is set when it is over."""

    ended: asyncio.Event

    def send(self, packet: str) -> None: ...

    def abort(self) -> None: ...


class PollingClient:
    """Engine.IO by long-polling: one GET waits, and what is to be sent goes out in POSTs.

    A balancer's cookies are kept, as a browser does: the session lives on one node.
    """

    def __init__(self, http: ClientSession, url: str, on_packet: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self._http = http
        self._url = url
        self._on_packet = on_packet
        self._cookies: dict[str, str] = {}
        self._outgoing: list[str] = []
        self._has_outgoing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls, http: ClientSession, port: int, path: str, on_packet: Callable[[str], None]
    ) -> Self:
        """Raises OSError where that fails."""
        client = cls(http, f"http://127.0.0.1:{port}{path}", on_packet)
        (hello,) = await client._get()
        client._url += "&sid=" + orjson.loads(hello[1:])["sid"]
        on_packet(hello)
        for loop in (client._poll, client._post):
            client._tasks.append(asyncio.create_task(client._until_end(loop)))
        return client

    def send(self, packet: str) -> None:
        self._outgoing.append(packet)
        self._has_outgoing.set()

    def abort(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.ended.set()

    async def _until_end(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            with suppress(OSError):
                await loop()
        finally:
            self.abort()

    async def _poll(self) -> None:
        while True:
            for packet in await self._get():
                self._on_packet(packet)

    async def _post(self) -> None:
        while True:
            await self._has_outgoing.wait()
            packets, self._outgoing = self._outgoing[:16], self._outgoing[16:]
            if not self._outgoing:
                self._has_outgoing.clear()
            await self._request("POST", "\x1e".join(packets).encode())

    async def _get(self) -> list[str]:
        return (await self._request("GET")).split("\x1e")

    async def _request(self, method: str, body: bytes | None = None) -> str:
        timeout = ClientTimeout(total=15.0, sock_connect=OPEN_TIMEOUT)
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Cookie": cookies} if cookies else {}
        try:
            async with self._http.request(
                method, self._url, data=body, headers=headers, timeout=timeout
            ) as response:
                text = await response.text()
        except (ClientError, TimeoutError) as error:
            raise ConnectionError(str(error)) from error
        if response.status != 200:
            raise ConnectionError(f"{method} was answered with {response.status}")
        self._cookies |= {name: each.value for name, each in response.cookies.items()}
        return text


class SocketSession:
    """One Socket.IO connection to the namespace "/", from its CONNECT to its end.

    `on_event` gets each event, `on_text` every packet as it came. The connection
    ends by itself when the server's pings stay away. It may take `patience` seconds to
    open, and an answer as long; by default OPEN_TIMEOUT and CALL_TIMEOUT.
    """

    def __init__(
        self,
        on_event: Callable[[str, Any], None],
        on_text: Callable[[str], None],
        patience: float | None = None,
    ) -> None:
        self._open_timeout = patience or OPEN_TIMEOUT
        self._call_timeout = patience or CALL_TIMEOUT
        self.sid = ""
        self.is_forbidden = False
        """Whether the server ended the session itself: it wants a new token first."""
        self._on_event = on_event
        self._on_text = on_text
        self._transport: Transport | None = None
        self._is_over = False
        self._heartbeat = 30.0
        self._deadline: asyncio.TimerHandle | None = None
        self._acks: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 0
        self._connected: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self, http: ClientSession, port: int, transport: str, token: str) -> None:
        """Raises OSError when there is no connection, and Refused."""
        path = f"/socket.io/?EIO=4&transport={transport}"
        try:
            async with asyncio.timeout(self._open_timeout):
                if transport == "polling":
                    self._transport = await PollingClient.open(http, port, path, self._receive)
                else:
                    self._transport = await WebSocketClient.open(port, path, self._receive)
                self._transport.send("40" + orjson.dumps({"token": token}).decode())
                self.sid = await self._until_connected(self._transport)
        except BaseException:
            self.close()
            raise

    async def _until_connected(self, transport: Transport) -> str:
        ended: asyncio.Future[Any] = asyncio.ensure_future(transport.ended.wait())
        try:
            await asyncio.wait([ended, self._connected], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if not self._connected.done():
            raise ConnectionError("ended while connecting")
        return await self._connected

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return bool(self.sid) and transport is not None and not transport.ended.is_set()

    async def wait_ended(self) -> None:
        """Until the connection is over; calls that wait for an answer then are Lost."""
        assert self._transport is not None
        await self._transport.ended.wait()
        self.close()

    async def call(self, event: str, payload: Any) -> dict[str, Any]:
        """The acknowledgement. Raises Lost when the connection ends, or after too long."""
        if not self.is_open or self._transport is None:
            raise Lost
        self._next_id += 1
        number = self._next_id
        answer = self._acks[number] = asyncio.get_running_loop().create_future()
        self._transport.send(f"42{number}" + orjson.dumps([event, payload]).decode())
        try:
            async with asyncio.timeout(self._call_timeout):
                acknowledgement: dict[str, Any] = await answer
        except TimeoutError:
            raise Lost from None
        finally:
            self._acks.pop(number, None)
        return acknowledgement

    def close(self) -> None:
        """End it at once; safe to repeat."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:
            self._transport.abort()
        if not self._connected.done():
            self._connected.cancel()
        for answer in self._acks.values():
            if not answer.done():
                answer.set_exception(Lost())
        self._acks.clear()

    # Receiving

    def _receive(self, packet: str) -> None:
        self._on_text(packet)
        kind = packet[:1]
        if kind == "4":
            self._receive_message(packet)
        elif kind == "2" and self._transport is not None:
            self._transport.send("3")
            self._watch()
        elif kind == "0":
            hello = orjson.loads(packet[1:])
            self._heartbeat = (hello["pingInterval"] + hello["pingTimeout"]) / 1000
            self._watch()
        elif kind == "1" and self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._heartbeat, self._miss_ping)

    def _miss_ping(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _receive_message(self, packet: str) -> None:
        kind = packet[1:2]
        if kind == "2":
            event, payload = orjson.loads(packet[2:])
            self._on_event(event, payload)
        elif kind == "3":
            bracket = packet.index("[")
            answer = self._acks.pop(int(packet[2:bracket]), None)
            if answer is not None and not answer.done():
                answer.set_result(orjson.loads(packet[bracket:])[0])
        elif kind == "0" and not self._connected.done():
            self._connected.set_result(orjson.loads(packet[2:])["sid"])
        elif kind == "4" and not self._connected.done():
            data = orjson.loads(packet[2:]).get("data") or {}
            self._connected.set_exception(Refused(data.get("code", "unknown")))
        elif kind == "1" and self._transport is not None:
            self.is_forbidden = True
            self._transport.abort()
