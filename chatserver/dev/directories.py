"""The directory that an embedded PostgreSQL lives in: who has it, what is left in it."""

import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from chatserver.dev.accounts import Account
from chatserver.dev.processes import find_process, interrupt, works_in

LEFTOVER_TIMEOUT = 15.0

_SOCKET_PREFIX = "chatserver-pg-"
# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing NUL included.
_MAX_SOCKET_PATH = 103
_LONGEST_SOCKET_NAME = ".s.PGSQL.65535"
# Lines of postmaster.pid.
_PID, _STATUS = 0, 7


class DirectoryError(Exception):
    """The directory cannot be used; the message is one clear line."""


class DataDirectory:
    """`cluster/` (PostgreSQL's own files), `socket/`, `lock`, `password` and `server.log`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cluster = path / "cluster"
        self.log = path / "server.log"
        self._lock: int | None = None

    @property
    def is_claimed(self) -> bool:
        return self._lock is not None

    def claim(self) -> None:
        """Take it for this process until release() or the process's end, however that
        comes. Raises DirectoryError when another process has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise DirectoryError(
                f"{self.path} is in use by process {holder}: "
                "stop that one, or choose another data directory"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def make_password(self) -> Path:
        """Write a new password of the superuser to a file that only its owner may read."""
        path = self.path / "password"
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
        return path

    def password(self) -> str:
        return (self.path / "password").read_text()

    def is_ready(self, pid: int) -> bool:
        """Return whether the server with that process id accepts connections."""
        return self._server_pid() == pid and self._pid_file_line(_STATUS) == "ready"

    def end_leftover(self) -> None:
        """End the server that a killed predecessor left on these files, if one did."""
        pid = self._server_pid()
        if pid is None:
            return
        process = find_process(pid)
        if process is not None and works_in(process, "postgres", self.cluster):
            interrupt(process, LEFTOVER_TIMEOUT)
        elif process is not None:
            # The number is another program's by now, and PostgreSQL would not start.
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def make_socket_dir(self, account: Account) -> Path:
        """A new directory for the socket: `socket/`, or what that links to when its own
        path is too long for one."""
        self.remove_socket_dir()
        path = self.path / "socket"
        if _suits_socket(path):
            path.mkdir()
        else:
            path = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX))
            (self.path / "socket").symlink_to(path)
        account.own(path)
        if not _suits_socket(path):
            self.remove_socket_dir()
            raise DirectoryError(f"no place for a socket: the path of {path} is too long")
        return path

    def remove_socket_dir(self) -> None:
        path = self.path / "socket"
        if path.is_symlink():
            if path.readlink().name.startswith(_SOCKET_PREFIX):
                shutil.rmtree(path.readlink(), ignore_errors=True)
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)

    def failure(self) -> str:
        """Return what the log says about why a program of PostgreSQL failed."""
        lines = self.log.read_text(errors="replace").splitlines()
        for mark in ("could not bind", "FATAL: ", "error: "):
            for line in lines:
                if mark in line:
                    return line[line.index(mark) :].removeprefix(mark).strip()
        return lines[-1] if lines else "it gave no reason"

    def _pid_file_line(self, number: int) -> str | None:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()[number].strip()
        except (OSError, IndexError):
            return None

    def _server_pid(self) -> int | None:
        line = self._pid_file_line(_PID) or ""
        return int(line) if line.isdecimal() else None


def _suits_socket(path: Path) -> bool:
    # SQLAlchemy takes a comma in a URL's host for a list of hosts, PostgreSQL a quote
    # in its setting for the end of the name.
    text = str(path / _LONGEST_SOCKET_NAME)
    return len(os.fsencode(text)) <= _MAX_SOCKET_PATH and not set(text) & set(",\"'")
