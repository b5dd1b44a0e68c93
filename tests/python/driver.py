"""Runs sockets of python-socketio's two clients under the control of a test.

It is run as a program, with whichever version of python-socketio is first on the path.
Standard input and output are those of tests/js/driver.mjs; `options` of `open` are
those of the client's `connect`, but for `is_sync`: the client with threads instead of
the one of asyncio.
"""

import asyncio
import inspect
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import socketio  # type: ignore[import-untyped]

ACK_TIMEOUT = 60.0
HEARD = ("message", "read_receipt", "delivery_receipt", "unread", "conversation", "error")
"""Server events that are reported: not every version has a handler for all events."""

RECONNECTION = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.5}

_lock = threading.Lock()


def say(**line: Any) -> None:
    with _lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def report(name: str, client: Any) -> None:
    def handler(event: str) -> Callable[..., None]:
        return lambda *args: say(socket=name, event=event, args=[str(client.sid), *args][-1:])

    for event in ("connect", "disconnect", "connect_error", *HEARD):
        client.on(event, handler(event))


class Socket:
    """One client; `run` is how its functions are waited for."""

    def __init__(self, name: str, url: str, options: dict[str, Any], pool: ThreadPoolExecutor):
        is_sync = options.pop("is_sync")
        self._pool = pool if is_sync else None
        self._url, self._options = url, options
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._client = self._make()

    def _make(self) -> Any:
        client = (socketio.Client if self._pool else socketio.AsyncClient)(**RECONNECTION)
        report(self._name, client)
        return client

    async def connect(self) -> None:
        await self._run(self._client.connect, self._url, **self._options)

    async def reopen(self) -> None:
        """By a client of its own: old ones are still at work after `disconnect`."""
        await self.close()
        self._client = self._make()
        await self.connect()

    async def emit(self, event: str, args: list[Any]) -> None:
        await self._run(self._client.emit, event, *args)

    async def burst(self, event: str, payloads: list[Any]) -> list[Any]:
        answers = [self._loop.create_future() for _ in payloads]

        def settle(answer: "asyncio.Future[Any]") -> Callable[..., Any]:
            return lambda *args: self._loop.call_soon_threadsafe(answer.set_result, args[0])

        todo = [
            (payload, settle(answer)) for payload, answer in zip(payloads, answers, strict=True)
        ]

        def emit_all() -> None:
            for payload, callback in todo:
                self._client.emit(event, payload, callback=callback)

        if self._pool:
            await self._run(emit_all)
        else:
            for payload, callback in todo:
                await self._client.emit(event, payload, callback=callback)
        return await asyncio.wait_for(asyncio.gather(*answers), ACK_TIMEOUT)

    def transport(self) -> str:
        name: str = self._client.transport()
        return name

    async def close(self) -> None:
        await self._run(self._client.disconnect)

    async def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if self._pool:
            await self._loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))
        else:
            await function(*args, **kwargs)


class Driver:
    """Every method without an underscore is a command."""

    def __init__(self) -> None:
        self._sockets: dict[str, Socket] = {}
        self._pool = ThreadPoolExecutor(64)

    async def open(self, socket: str, url: str, options: dict[str, Any]) -> None:
        self._sockets[socket] = Socket(socket, url, options, self._pool)
        await self._sockets[socket].connect()

    async def call(self, socket: str, event: str, args: list[Any]) -> Any:
        return (await self._sockets[socket].burst(event, args))[0]

    async def burst(self, socket: str, event: str, payloads: list[Any]) -> list[Any]:
        return await self._sockets[socket].burst(event, payloads)

    async def emit(self, socket: str, event: str, args: list[Any]) -> None:
        await self._sockets[socket].emit(event, args)

    def transport(self, socket: str) -> str:
        return self._sockets[socket].transport()

    async def reopen(self, socket: str) -> None:
        await self._sockets[socket].reopen()

    async def close(self, socket: str) -> None:
        await self._sockets[socket].close()

    def version(self) -> str:
        return metadata.version("python-socketio")

    async def reset(self) -> None:
        for socket in self._sockets.values():
            await socket.close()
        self._sockets.clear()


async def run(driver: Driver, id: int, do: str, **parameters: Any) -> None:
    try:
        result = getattr(driver, do)(**parameters)
        say(id=id, result=await result if inspect.isawaitable(result) else result)
    except Exception as error:
        say(id=id, error=repr(error))


async def main() -> None:
    driver, tasks = Driver(), set[asyncio.Task[None]]()
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = asyncio.create_task(run(driver, **json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)  # the threads of clients that still connect are not waited for


if __name__ == "__main__":
    asyncio.run(main())
