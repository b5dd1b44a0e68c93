"""A node of a run: `chatserver serve` as a process that is killed, stopped and started again."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientError, ClientSession, ClientTimeout

from chatserver.dev.ports import free_port
from chatserver.dev.processes import Watcher
from tests.kit.forks import Fork
from tests.kit.services import settings_for

SECRET = "4kz8wq1nv7xh2mb9rt5jc0gd6yp3slfu"
"""Of the checker, and of nothing else."""
START_TIMEOUT = 40.0
STOP_LIMIT = 15.0
"""How long a node may take from SIGTERM to its end."""

_DEFAULTS = settings_for("postgresql://", jwt__secret=SECRET).rate_limit
BUDGETS = {"CHAT_RATE_LIMIT_USER": _DEFAULTS.user, "CHAT_RATE_LIMIT_ADDRESS": _DEFAULTS.address}
"""Those that an operator gets."""

SETTINGS = {
    "CHAT_JWT_SECRET": SECRET,
    "CHAT_RATE_LIMIT_MESSAGES": "",
    **dict.fromkeys(BUDGETS, ""),
    "CHAT_RATE_LIMIT_CONVERSATIONS": "",
    "CHAT_SERVER_DRAIN_DELAY": "0.1",
    "CHAT_SERVER_INTERNAL_PORT": "0",
    "CHAT_SERVER_PUBLIC_METRICS": "true",
    "CHAT_SERVER_SHUTDOWN_GRACE": "5",
    "CHAT_DATABASE_STATEMENT_TIMEOUT": "4",
    "CHAT_WRITER_TIMEOUT": "5",
    "CHAT_REALTIME_PING_INTERVAL": "1.5",
    "CHAT_REALTIME_PING_TIMEOUT": "1.5",
    "CHAT_REALTIME_HANDLER_TIMEOUT": "6",
    "CHAT_REALTIME_MAX_SOCKETS_PER_USER": "0",
    "CHAT_PRESENCE_OFFLINE_GRACE": "0.3",
    "CHAT_PRESENCE_LEASE_TTL": "5",
}
"""Short deadlines: a run of seconds has to see what they do."""


class ServerFailed(Exception):
    """The server ended by itself, or did not start or stop."""


class Server:
    """`chatserver serve` as a process, always on the same port; the log goes to a file.

    With the names of faults it is started with these mistakes in it.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, faults: Sequence[str]) -> None:
        """`settings` are CHAT_ variables beside SETTINGS."""
        self.port = free_port()
        self.log = log
        log.write_bytes(b"")
        self.starts = 0
        self.clock_error = 0
        """By how many seconds the clock of the process is wrong: later, or with a minus."""
        self.was_ahead = False
        """Whether the clock of any process until now was later than it is."""
        self._environment = {**os.environ, **SETTINGS, **settings}
        self._faults = ",".join(faults)
        self._process: Fork | subprocess.Popen[bytes] | None = None
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

    async def start(self, http: ClientSession, *, clock_error: int = 0) -> None:
        """Until it serves. It is started again when the database is not there yet."""
        self.clock_error = clock_error
        self.was_ahead |= clock_error > 0
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
        self._stop_watching()
        command = ["tests.chaos.checker.faulty", self._faults, "serve"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        if self.clock_error:
            self._process = self._with_wrong_clock(command)
        else:
            self._process = Fork(command, self._environment, self.log)
        self._watcher = Watcher(self._process.pid)

    def _with_wrong_clock(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """No fork, where everything is imported: its clock has to be set before that."""
        arguments = ["tests.kit.wrong_clocks", str(self.clock_error), *command]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

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
        self._stop_watching()
        process.send_signal(number)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

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
