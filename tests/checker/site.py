"""The place of a run: a server process, its PostgreSQL, and a link of its own for each device."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.dev.processes import Watcher
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy

ROOT = Path(__file__).parents[2]
SECRET = "the secret of the checker, and of nothing else"
START_TIMEOUT = 40.0
STOP_LIMIT = 15.0
"""How long a node may take from SIGTERM to its end."""

SETTINGS = {
    "CHAT_JWT_SECRET": SECRET,
    "CHAT_RATE_LIMIT_MESSAGES": "",
    "CHAT_SERVER_DRAIN_DELAY": "0.1",
    "CHAT_SERVER_SHUTDOWN_GRACE": "5",
    "CHAT_DATABASE_STATEMENT_TIMEOUT": "4",
    "CHAT_WRITER_TIMEOUT": "5",
    "CHAT_REALTIME_PING_INTERVAL": "1.5",
    "CHAT_REALTIME_PING_TIMEOUT": "1.5",
    "CHAT_REALTIME_HANDLER_TIMEOUT": "6",
    "CHAT_REALTIME_MAX_SOCKETS_PER_USER": "0",
    "CHAT_PRESENCE_OFFLINE_GRACE": "0.3",
}
"""Short deadlines: a run of seconds has to see what they do."""

# Below the kernel's ephemeral ports, so that no client's connection takes the port
# while the server is down.
_PORTS = range(12_000, 20_000)


class ServerFailed(Exception):
    """The server ended by itself, or did not start or stop."""


class Server:
    """`chatserver serve` as a process, always on the same port; the log goes to a file.

    With the name of a fault it is started with that mistake in it.
    """

    def __init__(self, database_url: str, log: Path, fault: str) -> None:
        self.port = _free_port()
        self.log = log
        self.starts = 0
        self._environment = {**os.environ, **SETTINGS, "CHAT_DATABASE_URL": database_url}
        self._fault = fault
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: Watcher | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self, http: ClientSession) -> None:
        """Until it serves. It is started again when the database is not there yet."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self._launch()
            while self.is_running:
                if await self._is_ready(http):
                    self.starts += 1
                    return
                await asyncio.sleep(0.05)
                if time.monotonic() > deadline:
                    raise ServerFailed("the server did not get ready")
            if time.monotonic() > deadline:
                raise ServerFailed("the server did not start")
            await asyncio.sleep(0.1)

    def _launch(self) -> None:
        command = [sys.executable, "-m", "tests.checker.faulty", self._fault, "serve"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watcher = Watcher(self._process.pid)

    async def _is_ready(self, http: ClientSession) -> bool:
        """It serves; whether its database answers just now is another matter."""
        try:
            async with http.get(f"{self.base_url}/healthz", timeout=ClientTimeout(1)) as response:
                return response.status == 200
        except (ClientError, TimeoutError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL: whatever it was doing is left as it is."""
        self._end(signal.SIGKILL, 10.0)

    async def stop(self) -> None:
        """SIGTERM. Raises ServerFailed when it does not end in time, and with 0."""
        if not self.is_running:
            raise ServerFailed("the server has ended by itself")
        began = time.monotonic()
        code = await asyncio.to_thread(self._end, signal.SIGTERM, STOP_LIMIT + 5)
        if code != 0 or time.monotonic() - began > STOP_LIMIT:
            raise ServerFailed(
                f"SIGTERM: it ended with {code} after {time.monotonic() - began:.1f} s"
            )

    def _end(self, number: signal.Signals, timeout: float) -> int | None:
        process = self._process
        if process is None:
            return None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        process.send_signal(number)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    async def metrics(self, http: ClientSession) -> dict[str, float]:
        """The sum of each metric over its labels."""
        async with http.get(f"{self.base_url}/metrics") as response:
            text = await response.text()
        found: dict[str, float] = {}
        for line in text.splitlines():
            match = re.match(r"(\w+)(?:{[^}]*})? ([-+.\deE]+)", line)
            if match:
                found[match[1]] = found.get(match[1], 0.0) + float(match[2])
        return found

    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)


class Link(Proxy):
    """A device's own way to the server."""

    def half_close(self, *, by_client: bool) -> None:
        """Have one side believe that the other will send nothing more."""
        for link in list(self._links):
            writer = link._upstream if by_client else link._writer
            connection = None if writer is None else writer.get_extra_info("socket")
            if connection is not None:
                # Past asyncio, which would take it as the end of our own writing.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Site:
    """What a run happens on. `postgres` is None where PostgreSQL is not ours to restart."""

    database_url: str
    postgres: EmbeddedPostgres | None
    server: Server
    links: dict[str, Link]
    database_link: Proxy
    http: ClientSession

    def heal(self) -> None:
        """Let every link pass everything again."""
        for link in (*self.links.values(), self.database_link):
            link.heal()


@asynccontextmanager
async def running_site(
    database_url: str,
    link_names: Iterable[str],
    log: Path,
    *,
    postgres: EmbeddedPostgres | None = None,
    fault: str = "none",
) -> AsyncIterator[Site]:
    """A server on a migrated database, reached by a proxy, and a link for each name."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            ClientSession(
                connector=TCPConnector(limit=0, force_close=True), cookie_jar=DummyCookieJar()
            )
        )
        database_link = await stack.enter_async_context(
            running_proxy(postgres_upstream(database_url))
        )
        server = Server(database_link.url(database_url), log, fault)
        stack.callback(server.kill)
        links = {}
        for name in link_names:
            link = links[name] = Link(("127.0.0.1", server.port))
            await link.start()
            stack.push_async_callback(link.close)
        await server.start(http)
        yield Site(database_url, postgres, server, links, database_link, http)


def _free_port() -> int:
    for port in range(_PORTS.start + os.getpid() % 4000, _PORTS.stop):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise ServerFailed("no port is free")
