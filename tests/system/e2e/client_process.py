"""A process that opens sockets of a real Socket.IO client for a test, in its own language."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kit.app import Person
from tests.kit.clients import TIMEOUT
from tests.kit.waiting import Listener

LONGEST_LINE = 2**24

Happening = tuple[str, list[Any]]
"""An event with its arguments: the server's, or connect, disconnect, connect_error."""


class ClientProcess:
    """The process; `open` gives one socket of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._sockets: dict[str, ClientSocket] = {}
        self._next_id = 0
        self._reader = asyncio.create_task(self._read())

    async def open(self, url: str, person: Person | None = None, **options: Any) -> "ClientSocket":
        """A socket that has begun to connect, as `person` unless `options` say how."""
        if person is not None:
            options.setdefault("auth", {"token": person.token()})
        socket = ClientSocket(self, f"socket {len(self._sockets) + 1}")
        self._sockets[socket.name] = socket
        await self.do("open", socket=socket.name, url=url, options=options)
        return socket

    async def connected(self, url: str, person: Person, **options: Any) -> "ClientSocket":
        socket = await self.open(url, person, **options)
        await socket.heard("connect")
        return socket

    async def do(self, command: str, **parameters: Any) -> Any:
        """The result. Raises RuntimeError with what the client threw.

        The commands are those of tests/js/driver.mjs.
        """
        self._next_id += 1
        result = self._results[self._next_id] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": self._next_id, "do": command, **parameters})
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(TIMEOUT + 5):
            return await result

    async def reset(self) -> None:
        """Close every socket and forget it."""
        await self.do("reset")
        self._sockets.clear()

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                if socket := self._sockets.get(said["socket"]):
                    socket.take(said["event"], said["args"])
            elif "error" in said:
                self._results.pop(said["id"]).set_exception(RuntimeError(said["error"]))
            else:
                self._results.pop(said["id"]).set_result(said["result"])


class ClientSocket(Listener):
    """One socket of the real client, and all that has happened to it."""

    def __init__(self, client: ClientProcess, name: str) -> None:
        super().__init__()
        self.name = name
        self.happenings: list[Happening] = []
        self._client = client

    def take(self, event: str, args: list[Any]) -> None:
        self.happenings.append((event, args))
        self._notify()

    def of(self, kind: str) -> list[Any]:
        """The first argument of all events of that name so far, in order."""
        return [args[0] if args else None for name, args in self.happenings if name == kind]

    def _latest(self) -> str:
        return str(self.happenings[-10:])

    async def heard(self, kind: str, count: int = 1) -> Any:
        """Wait for the `count`-th event of that name: its payload."""
        return (await super().heard(kind, count))[count - 1]

    async def call(self, event: str, *args: Any) -> Any:
        """The acknowledgement."""
        return await self._client.do("call", socket=self.name, event=event, args=args)

    async def ok(self, event: str, *args: Any) -> Any:
        """The acknowledgement, which is a success."""
        answer = await self.call(event, *args)
        assert answer["ok"], answer
        return answer

    async def code(self, event: str, *args: Any) -> str:
        """The error code of the acknowledgement, which is a failure."""
        answer = await self.call(event, *args)
        assert not answer["ok"], answer
        code: str = answer["error"]["code"]
        return code

    async def burst(self, event: str, payloads: list[Any]) -> list[Any]:
        """The acknowledgements of events that were all emitted in one turn."""
        answers: list[Any] = await self._client.do(
            "burst", socket=self.name, event=event, payloads=payloads
        )
        return answers

    async def emit(self, event: str, *args: Any) -> None:
        await self._client.do("emit", socket=self.name, event=event, args=args)

    async def transport(self) -> str:
        name: str = await self._client.do("transport", socket=self.name)
        return name

    async def reopen(self) -> None:
        """Disconnect, and begin to connect again."""
        await self._client.do("reopen", socket=self.name)

    async def close(self) -> None:
        await self._client.do("close", socket=self.name)


@asynccontextmanager
async def running_process(
    program: str | Path, *arguments: str | Path, **environment: str
) -> AsyncIterator[ClientProcess]:
    """`environment` is added to ours."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        env=os.environ | environment,
    )
    client = ClientProcess(process)
    try:
        yield client
    finally:
        await client.end()
