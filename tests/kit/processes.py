"""`chatserver …` as processes of their own: started, waited for, killed, none left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession

from tests.kit.app import SECRET
from tests.kit.forks import Fork
from tests.kit.stalls import PATIENCE

START_TIMEOUT = 120.0
"""Seconds; a machine that runs several test suites at once is slow."""

EXIT_TIMEOUT = 15.0
"""Seconds from SIGTERM to the end: a promise of the product, which `make faults` measures."""


def environment(**settings: Any) -> dict[str, str]:
    """Ours without any CHAT_ variable; `section__key=value` sets CHAT_SECTION_KEY."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CHAT_")}
    chosen = {f"CHAT_{name.replace('__', '_').upper()}": str(settings[name]) for name in settings}
    return inherited | chosen


def run(*arguments: str, timeout: float = START_TIMEOUT, **settings: Any) -> (
    "subprocess.CompletedProcess[str]"
):  # fmt: skip
    """A `chatserver` command that ends by itself; `settings` as `environment` takes them."""
    return subprocess.run(
        [sys.executable, "-m", "chatserver", *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True)
class ServerProcess:
    """A `chatserver serve` or `dev` that is running, or was."""

    process: "subprocess.Popen[bytes] | Fork"
    base_url: str
    log_file: Path

    @property
    def log(self) -> str:
        """All that it has written, on both outputs."""
        return self.log_file.read_text()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, as long as that may take."""
        return await asyncio.to_thread(self.process.wait, seconds)

    async def wait_draining(self) -> None:
        """Wait until it has heard SIGTERM: /readyz says so, or nobody answers any more."""
        async with asyncio.timeout(PATIENCE), ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.base_url}/readyz") as response:
                        if (await response.json())["checks"]["draining"]:
                            return
                except ClientError:
                    return
                await asyncio.sleep(0.02)

    async def wait_ready(self) -> None:
        """Wait until /readyz says so; fails when it ends instead."""
        deadline = time.monotonic() + START_TIMEOUT
        async with ClientSession() as http:
            while True:
                with suppress(ClientError):
                    async with http.get(f"{self.base_url}/readyz") as response:
                        if response.status == 200:
                            return
                assert self.process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                await asyncio.sleep(0.02)


@asynccontextmanager
async def started(
    command: str,
    port: int,
    directory: Path,
    *arguments: str,
    checkout: Path | None = None,
    program: Sequence[str] = ("chatserver",),
    **settings: Any,
) -> AsyncIterator[ServerProcess]:
    """`chatserver serve` or `dev` on `port`, ready; killed at the end if it still runs.

    What it writes is kept in `directory`. `settings` as `environment` takes them. It is
    the server of another `checkout`, if given; or another `program`, a module and its
    first arguments, which takes the same.
    """
    log_file = directory / f"{command}-{port}-{time.monotonic_ns()}.log"
    arguments = (*program, command, "--port", str(port), *arguments)
    process = _launch(log_file, *arguments, checkout=checkout, **settings)
    server = ServerProcess(process, f"http://127.0.0.1:{port}", log_file)
    try:
        await server.wait_ready()
        yield server
    finally:
        server.kill()


def _launch(
    log_file: Path, *arguments: str, checkout: Path | None, **settings: Any
) -> "subprocess.Popen[bytes] | Fork":
    """Forked where nothing but an ordinary `serve` is wanted."""
    if checkout is None and arguments[:2] == ("chatserver", "serve"):
        return Fork(arguments, environment(**settings), log_file)
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=checkout,  # where `python -m` looks first
            env=environment(**settings),
            stdout=log,
            stderr=log,
        )


@asynccontextmanager
async def serving(
    database_url: str, port: int, directory: Path, **overrides: Any
) -> AsyncIterator[ServerProcess]:
    """A production node on a migrated database, without a rate limit; it drains at once.

    `overrides` are settings, or a `checkout` or `program`, as `started` takes them.
    """
    settings = {
        "database__url": database_url,
        "jwt__secret": SECRET,
        "rate_limit__messages": "",
        "rate_limit__conversations": "",
        # Many nodes are on this machine.
        "server__internal_port": 0,
        "server__public_metrics": True,
        "server__drain_delay": 0,
        "server__drain_spread": 0,
        **overrides,
    }
    async with started("serve", port, directory, "--host", "127.0.0.1", **settings) as server:
        yield server
