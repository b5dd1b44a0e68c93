"""Other processes: wait for their end, bring it about, tie it to our own."""

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Interrupts a process when the pipe closes, which it does however ours ends.
_WATCH = 'read -r _; kill -INT "$1"'


class Watcher:
    """Sends SIGINT to the process `pid` when our process ends, even by SIGKILL."""

    def __init__(self, pid: int) -> None:
        self._shell = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCH, "chatserver-watch", str(pid)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C goes to a whole process group; this one must outlive it.
            start_new_session=True,
        )

    def cancel(self) -> None:
        """Stop watching; to be done before `pid` ends and its number is another's."""
        self._shell.kill()
        self._shell.communicate()


def find_process(pid: int) -> psutil.Process | None:
    """The process `pid`, unless it has ended."""
    try:
        process = psutil.Process(pid)
        return None if _has_ended(process) else process
    except psutil.NoSuchProcess:
        return None


def children_of(pid: int) -> list[psutil.Process]:
    """The processes that `pid` has started and that have not ended."""
    process = find_process(pid)
    return [] if process is None else process.children()


def works_in(process: psutil.Process, name: str, directory: Path) -> bool:
    """Return whether `process` runs the program `name` in `directory`."""
    try:
        return process.name() == name and Path(process.cwd()) == directory.resolve()
    except psutil.Error:
        return False


def wait_ended(processes: Sequence[psutil.Process], timeout: float) -> bool:
    """Return whether all of them have ended within `timeout` seconds.

    A zombie counts as ended: whoever has to collect it may do that late or never.
    """
    deadline = time.monotonic() + timeout
    while not all(_has_ended(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def interrupt(process: psutil.Process, timeout: float) -> None:
    """End it and its children: SIGINT, and `timeout` seconds later ruder ones."""
    children = children_of(process.pid)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        if wait_ended([process], timeout):
            break
    wait_ended(children, timeout)


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
