"""A real HAProxy or nginx in front of nodes, with the configuration that we ship.

async with running_haproxy([node.port for node in nodes], tmp_path) as balancer:
    ... balancer.base_url ...

place = HaProxyPlace(ports, tmp_path)
await place.start()             # at place.port
await place.start(CARELESS)     # at the same port, with another configuration
await place.close()
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import ClientError, ClientSession

from chatserver.dev.balancers import render
from chatserver.dev.ports import free_port
from chatserver.dev.processes import Watcher
from chatserver.settings import config_directory
from tests.kit.clients import TIMEOUT

PACKAGES = {"haproxy": "haproxy", "nginx": "nginx-light", "promtool": "prometheus"}

CARELESS = """
global
    stats timeout 1m
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout tunnel 60s
frontend clients
    bind :8080
    default_backend nodes
backend nodes
    balance roundrobin
    server chat1 chat1:8080
"""
"""A template: a balancer as a newcomer writes it, each request to the next node."""


def find_program(name: str) -> str:
    """Its path. Without it the test is skipped; where CI is set it fails."""
    # Beside Python is what a script of ours has put there.
    places = f"{Path(sys.executable).parent}:/usr/sbin:/usr/local/sbin"
    found = shutil.which(name) or shutil.which(name, path=places)
    if found is not None:
        return found
    reason = f"there is no {name}: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Balancer:
    """One that is running, or was."""

    process: "subprocess.Popen[bytes]"
    base_url: str
    log_file: Path

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    @property
    def log(self) -> str:
        """All that it has written, its access log included."""
        return self.log_file.read_text()

    async def logged(self, words: str) -> str:
        """Wait until `words` are in the log, which comes a moment after the answer: all of it."""
        deadline = time.monotonic() + TIMEOUT
        while words not in self.log:
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(0.02)
        return self.log

    async def wait_answering(self) -> None:
        """Until any node answers through it."""
        deadline = time.monotonic() + TIMEOUT
        async with ClientSession() as http:
            while True:
                with suppress(ClientError):
                    async with http.get(f"{self.base_url}/healthz") as response:
                        if response.status == 200:
                            return
                assert self.process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                await asyncio.sleep(0.02)


@dataclass(frozen=True)
class HaProxy(Balancer):
    """Its nodes are `chat1`, `chat2`, … in the order in which they were given."""

    socket: Path

    async def set_state(self, node: int, state: Literal["ready", "drain", "maint"]) -> None:
        """Of the node with that index: `drain` gives it nothing new, `maint` nothing at all."""
        assert await self.command(f"set server nodes/chat{node + 1} state {state}") == ""

    async def states(self) -> list[str]:
        """Return its state of each node: UP, DOWN, MAINT, DRAIN, or something in between."""
        lines = (await self.command("show stat nodes 4 -1")).removeprefix("# ").splitlines()
        column = lines[0].split(",").index("status")
        return [line.split(",")[column].split()[0] for line in lines[1:]]

    async def command(self, words: str) -> str:
        """The answer to a command of the runtime API."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(f"{words}\n".encode())
            return (await reader.read()).decode().strip()
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def running_haproxy(
    nodes: Sequence[int], directory: Path, template: str | None = None, *, port: int = 0
) -> AsyncIterator[HaProxy]:
    """In front of these ports of 127.0.0.1, answering; what it writes is in `directory`.

    `template` is a configuration like ours, to be used in its place. Without a `port`
    it is at a free one.
    """
    program, port = find_program("haproxy"), port or free_port()
    shipped = (config_directory() / "haproxy.cfg").read_text("utf-8")
    config = directory / f"haproxy-{port}.cfg"
    config.write_text(render(template or shipped, port, nodes))
    # A path of its own, since that of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="chatserver-haproxy-") as short:
        socket = Path(short) / "admin"
        admin = directory / f"haproxy-{port}-admin.cfg"
        admin.write_text(f"global\n    stats socket {socket} level admin\n")
        command = [program, "-db", "-f", str(config), "-f", str(admin)]
        log_file = directory / f"haproxy-{port}.log"
        with _running(command, log_file) as process:
            balancer = HaProxy(process, f"http://127.0.0.1:{port}", log_file, socket)
            await balancer.wait_answering()
            yield balancer


class HaProxyPlace:
    """A place for an HAProxy: the same port and nodes, whichever configuration it has."""

    def __init__(self, nodes: Sequence[int], directory: Path) -> None:
        self.port = free_port()
        self._nodes = nodes
        self._directory = directory
        self._stack = AsyncExitStack()

    async def start(self, template: str | None = None) -> None:
        """Like `running_haproxy`; one that runs is ended first, with all its connections."""
        await self.close()
        running = running_haproxy(self._nodes, self._directory, template, port=self.port)
        await self._stack.enter_async_context(running)

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def running_nginx(nodes: Sequence[int], directory: Path) -> AsyncIterator[Balancer]:
    """Like `running_haproxy`."""
    program, port = find_program("nginx"), free_port()
    # The places where it would write without asking, which need root or do not exist.
    temporary = "".join(
        f"    {kind}_temp_path {directory}/nginx-{port}-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    shipped = (config_directory() / "nginx.conf").read_text("utf-8")
    config = directory / f"nginx-{port}.conf"
    text = render(shipped, port, nodes).replace("http {\n", f"http {{\n{temporary}", 1)
    for log, place in (("access", "/dev/stdout"), ("error", "stderr")):
        text = text.replace(f"/var/log/nginx/{log}.log", place)
    config.write_text(text)
    main = f"daemon off; pid {directory}/nginx-{port}.pid;"
    command = [program, "-e", "stderr", "-c", str(config), "-g", main]
    log_file = directory / f"nginx-{port}.log"
    with _running(command, log_file) as process:
        balancer = Balancer(process, f"http://127.0.0.1:{port}", log_file)
        await balancer.wait_answering()
        yield balancer


@contextmanager
def _running(command: Sequence[str], log_file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Writing to `log_file`; ends here, or with us should we be killed."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    watcher = Watcher(process.pid)
    try:
        yield process
    finally:
        watcher.cancel()
        # At once for both programs, the workers of nginx included.
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
