"""Programs that run beside ours, for as long as we do: watched, started again, ended."""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import click

from chatserver.dev.processes import Watcher

RESTART_DELAY: Final = 1.0
"""Seconds between the death of a program and its next start."""


class Program:
    """One of them; it never outlives this process, even when that is killed.

    Each line that it writes goes to `tell`, which by default shows it as `name | line`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.last_line = "it gave no reason"
        self._command = command
        self._environment = environment
        self._tell = tell or self._show
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: Watcher | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for us, who end everything in order.
            start_new_session=True,
        )
        self._watcher = Watcher(self._process.pid)
        assert self._process.stdout is not None
        self._reader = asyncio.create_task(self._read(self._process.stdout))

    async def wait(self) -> int:
        """Its exit code, once it has ended; the number of a signal is negative."""
        assert self._process is not None
        assert self._reader is not None
        code = await self._process.wait()
        await self._reader
        self._unwatch()
        return code

    async def keep_running(self, on_restart: Callable[[], None]) -> None:
        """Whenever it ends, say so and start it again; until this is cancelled."""
        while True:
            code = await self.wait()
            click.echo(
                f"{self.name} has ended ({_reason(code)}) and starts again in "
                f"{RESTART_DELAY:.0f} s",
                err=True,
            )
            await asyncio.sleep(RESTART_DELAY)
            await self.start()
            on_restart()

    async def stop(self, patience: float) -> None:
        """SIGTERM, and SIGKILL when that took longer than `patience` seconds."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process is None or self.pid is None:
                break
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.wait()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _read(self, output: asyncio.StreamReader) -> None:
        """Line by line; what is longer than a buffer comes in pieces."""
        while True:
            try:
                line = await output.readline()
            except ValueError:
                continue
            if not line:
                return
            self.last_line = line.decode(errors="replace").rstrip()
            self._tell(self.last_line)

    def _show(self, line: str) -> None:
        click.echo(f"{self.name} | {line}", err=True)


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
