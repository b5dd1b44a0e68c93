"""The servers that are measured, and how each is started.

A further one is one more entry in TARGETS. One that is several processes (nodes
behind a balancer) brings a `launch` of its own: what is measured goes to `port`,
and the CPU and memory of every tree in `pids` count.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from aiohttp import ClientSession

from bench.checkouts import known_settings
from bench.databases import make_plain_database, make_product_database, plain_url
from bench.dialects import Dialect, PlainJSON, SocketIO
from chatserver.dev.node import find_node
from chatserver.dev.ports import free_port
from chatserver.dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent
NODE_PEERS = ROOT / "bench" / "peers" / "node"
SECRET = "5nk2xq9wz4vb8hm1rt7jc0gd6yp3slfu"
POOL_SIZE = 10
ENDLESS = "100000000/minute"
"""Value of a limit that limits nobody, but is counted."""

START_TIMEOUT = 180.0
STOP_TIMEOUT = 20.0


class TargetError(Exception):
    """A server did not start; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections on 127.0.0.1: its port, and the roots of its trees.

    `nodes` are the ports of those of its nodes that have a Redis between them.
    """

    port: int
    pids: list[int]
    nodes: list[int] = field(default_factory=list)


Launch = Callable[[str, Path], AbstractAsyncContextManager[Running]]
"""Takes the database's URL and the directory for logs; ends the server on leaving."""

MakeDatabase = Callable[[EmbeddedPostgres, str, int], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    title: str
    dialect: Dialect
    make_database: MakeDatabase
    launch: Launch
    sections: frozenset[str] = frozenset({"throughput", "latency", "alone", "sockets"})
    """Sections that are measured of it, if they were asked for."""
    is_usual: bool = True
    """True if it is measured where no server is named."""


NO_LIMITS = {
    "CHAT_RATE_LIMIT_MESSAGES": "",
    "CHAT_RATE_LIMIT_CONVERSATIONS": "",
    "CHAT_RATE_LIMIT_USER": "",
    "CHAT_RATE_LIMIT_ADDRESS": "",
    # Several nodes are on one machine, and what measures them reads their metrics.
    "CHAT_SERVER_INTERNAL_PORT": "0",
    "CHAT_SERVER_PUBLIC_METRICS": "true",
}
"""Set as far as the measured checkout knows them."""


def product(checkout: Path = ROOT, **settings: str) -> Launch:
    """One node of a checkout, as an operator runs it, without limits; `settings` are CHAT_…"""

    @asynccontextmanager
    async def launch(url: str, logs: Path) -> AsyncIterator[Running]:
        port = free_port()
        environment = {
            "CHAT_DATABASE_URL": url,
            "CHAT_JWT_SECRET": SECRET,
            "CHAT_LOGGING_LEVEL": "warning",
            "CHAT_SERVER_DRAIN_DELAY": "0",
            **known_settings(checkout, NO_LIMITS),
            **settings,
        }
        command = [sys.executable, "-m", "chatserver", "serve", "--host", "127.0.0.1"]
        log = logs / f"chatserver-{port}.log"
        # Python takes the code of the folder in which it starts.
        async with running(
            [*command, "--port", str(port)], environment, port, log, checkout
        ) as pid:
            await until_ready(port)
            yield Running(port, [pid])

    return launch


async def until_ready(port: int) -> None:
    """Until a node lets people in: its port is open a moment before."""
    async with asyncio.timeout(START_TIMEOUT), ClientSession() as http:
        while True:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return
            await asyncio.sleep(0.05)


def peer(command: Callable[[], Sequence[str]]) -> Launch:
    """A peer: its address, its database and the key of the tokens are in the environment."""

    @asynccontextmanager
    async def launch(url: str, logs: Path) -> AsyncIterator[Running]:
        port = free_port()
        environment = {
            "DATABASE_URL": plain_url(url),
            "JWT_SECRET": SECRET,
            "PORT": str(port),
            "POOL_SIZE": str(POOL_SIZE),
            "NODE_ENV": "production",
        }
        async with running(command(), environment, port, logs / f"peer-{port}.log") as pid:
            yield Running(port, [pid])

    return launch


def in_node(script: str) -> Launch:
    return peer(lambda: [str(find_node().binary), str(NODE_PEERS / script)])


def in_python(module: str) -> Launch:
    return peer(lambda: [sys.executable, "-m", module])


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("chatserver", "this server", SocketIO(), make_product_database, product()),
        Target(
            "budgets", "this server with budgets, which nobody comes to the end of",
            SocketIO(), make_product_database,
            product(CHAT_RATE_LIMIT_USER=ENDLESS, CHAT_RATE_LIMIT_ADDRESS=ENDLESS), is_usual=False,
        ),
        Target(
            "node-plain", "Node.js, socket.io, pg: a transaction for each message",
            SocketIO(), make_plain_database, in_node("plain.mjs"),
        ),
        Target(
            "node-batch", "the same with group commit",
            SocketIO(), make_plain_database, in_node("batch.mjs"),
        ),
        Target(
            "stock", "python-socketio as it comes, asyncpg: a transaction for each message",
            SocketIO(), make_plain_database, in_python("bench.peers.stock"),
        ),
        Target(
            "seed", "FastAPI, raw websocket, SQLAlchemy's ORM: a row at a time",
            PlainJSON(), make_plain_database, in_python("bench.peers.seed"),
        ),
    )
}  # fmt: skip


@asynccontextmanager
async def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    log: Path,
    folder: Path = ROOT,
) -> AsyncIterator[int]:
    """Run `command` in `folder` until it accepts connections on `port`; its process id.

    SIGTERM ends it.
    """
    inherited = {name: value for name, value in os.environ.items() if name[:5] != "CHAT_"}
    process = _start(command, {**inherited, **environment}, log, folder)
    try:
        await _wait_for(port, process, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TargetError(f"{log.stem} did not start: {_last_line(log)}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def _start(
    command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
