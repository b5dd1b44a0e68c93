"""The commands: what each does, and the one line that says why it does not."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner, Result
from sqlalchemy import make_url

from chatserver import cli
from chatserver.dev.ports import free_port
from tests.kit.app import SECRET, add_person
from tests.kit.clients import Rest
from tests.kit.processes import environment, run, serving

NOBODY = "postgresql://somebody:password@127.0.0.1:1/chat"
GOOD = {"database__url": NOBODY, "jwt__secret": SECRET}


def invoke(*arguments: str, **settings: Any) -> Result:
    """The command in this process: for what fails before anything is started."""
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("CHAT_")}
    return CliRunner().invoke(cli.main, arguments, env=ours | environment(**settings))


async def run_all(*commands: tuple[str, dict[str, Any]]) -> list[tuple[int, str, str]]:
    """Run processes side by side: what each ended with and wrote on its two outputs."""
    done = await asyncio.gather(
        *(asyncio.to_thread(run, *line.split(), **settings) for line, settings in commands)
    )
    return [(process.returncode, process.stdout, process.stderr) for process in done]


@pytest.mark.parametrize("command", ["serve", "migrate", "config"])
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"jwt__secret": SECRET},
            "CHAT_DATABASE_URL is not set: the server needs a PostgreSQL database",
        ),
        (
            {**GOOD, "database__url": "mysql://127.0.0.1/chat"},
            "CHAT_DATABASE_URL must begin with postgresql://",
        ),
        (
            {"database__url": NOBODY},
            "neither CHAT_JWT_SECRET nor CHAT_JWT_JWKS_URL is set: no token could be verified",
        ),
        ({**GOOD, "jwt__secret": "short"}, "CHAT_JWT_SECRET is shorter than 32 bytes"),
        (
            {**GOOD, "jwt__secret": "development-secret-never-for-production"},
            "CHAT_JWT_SECRET could be guessed: have one made with `openssl rand -hex 32`",
        ),
        ({**GOOD, "server__prot": 80}, "unknown setting CHAT_SERVER_PROT in the environment"),
        ({**GOOD, "server__port": "http"}, "server.port must be a"),
        ({**GOOD, "database__pool_size": 0}, "database.pool_size must be more than 0"),
        (
            {**GOOD, "rate_limit__messages": "many"},
            "rate_limit.messages must look like 60/minute, or be empty",
        ),
    ],
)
def test_a_bad_setting_stops_every_command_with_one_clear_line(
    command: str, settings: dict[str, Any], problem: str
) -> None:
    done = invoke(command, **settings)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"chatserver: {problem}")
    assert done.stderr.count("\n") == 1


def test_config_prints_what_is_in_force_and_hides_secrets(tmp_path: Path) -> None:
    secret, ours = tmp_path / "secret", tmp_path / "ours.toml"
    secret.write_text(f"{SECRET}\n", "utf-8")
    ours.write_text('[cors]\norigins = ["https://a.example"]\n', "utf-8")
    arguments = ("config", "--config", str(ours))
    given = {"database__url": NOBODY, "jwt__secret_file": secret, "writer__timeout": 3}
    done = invoke(*arguments, **given)
    assert (done.exit_code, done.stderr) == (0, "")
    assert {
        "# url is set  # CHAT_DATABASE_URL",
        "# secret is set  # CHAT_JWT_SECRET_FILE",
        'url = ""  # base.toml',
        'origins = ["https://a.example"]  # ours.toml',
        "timeout = 3.0  # CHAT_WRITER_TIMEOUT",
        "drain_delay = 2.0  # production.toml",
        "serve_docs = true  # base.toml",
    } <= set(done.stdout.splitlines())
    assert "password" not in done.stdout
    assert SECRET not in done.stdout

    # It is a file that --config takes.
    ours.write_text(done.stdout, "utf-8")
    again = invoke(*arguments, database__url=NOBODY, jwt__secret_file=secret)
    assert _without_sources(again.stdout) == _without_sources(done.stdout)


def _without_sources(printed: str) -> list[str]:
    return [line.partition("  # ")[0] for line in printed.splitlines()]


@pytest.mark.parametrize("command", ["serve", "migrate", "config"])
def test_a_file_of_settings_that_cannot_be_used_stops_with_one_clear_line(
    command: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.toml"
    done = invoke(command, "--config", str(missing), **GOOD)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"chatserver: cannot read {missing}: [Errno 2] No such file or directory: '{missing}'\n"
    )


async def test_what_the_database_lacks_stops_the_start_with_one_clear_line(
    database_url: str, empty_database_url: str
) -> None:
    missing = str(make_url(database_url).set(database="nothing"))
    outcomes = await run_all(
        ("serve", GOOD),
        ("migrate", GOOD),
        ("serve", {**GOOD, "database__url": missing}),
        ("migrate", {**GOOD, "database__url": missing}),
        ("serve", {**GOOD, "database__url": empty_database_url}),
    )
    lines = [line for _, _, line in outcomes]
    assert [(code, output) for code, output, _ in outcomes] == [(1, "")] * len(outcomes)
    for line in lines[:2]:
        assert line.startswith("chatserver: the database cannot be used: [Errno 111]")
    for line in lines[2:4]:
        assert line.startswith("chatserver: the database cannot be used: ")
        assert 'database "nothing" does not exist' in line
    assert lines[4] == (
        "chatserver: the database is not migrated: run `chatserver migrate` first\n"
    )
    assert [line.count("\n") for line in lines] == [1] * len(lines)
    assert not any("password" in line for line in lines)


async def test_a_port_that_is_taken_stops_the_start_with_one_clear_line(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {**GOOD, "database__url": database_url, "server__internal_port": 0}
        outcomes = await run_all(
            (f"serve --host 127.0.0.1 --port {port}", settings),
            ("serve --host 127.0.0.1 --port 0", {**settings, "server__internal_port": port}),
        )
    line = f"chatserver: cannot listen on 127.0.0.1:{port}: address already in use"
    for code, output, errors in outcomes:
        assert (code, output) == (1, "")
        *records, last = errors.splitlines()
        assert last == line
        # It is a node by then, and may be the one that finds that nobody is older.
        assert all('"event":"members_promised"' in record for record in records)


async def test_migrate_and_token_are_all_that_serve_needs(
    empty_database_url: str, tmp_path: Path
) -> None:
    settings = {"database__url": empty_database_url, "jwt__secret": SECRET}
    (migrated,) = await run_all(("migrate", settings))
    assert migrated[:2] == (0, "")
    person = await add_person(empty_database_url)
    async with (
        serving(empty_database_url, free_port(), tmp_path) as server,
        ClientSession() as http,
    ):
        rest = Rest(http, server.base_url)
        printed = invoke("token", str(person.id), "--role", "owner", jwt__secret=SECRET)
        assert (printed.exit_code, printed.stderr) == (0, "")
        headers = {"Authorization": f"Bearer {printed.stdout.strip()}"}
        assert (await rest.call("GET", "unread-count", headers=headers)).body == {"unread_count": 0}
        assert (await rest.call("GET", "unread-count")).status == 401


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["not-a-uuid"], "is not a valid UUID"),
        (["00000000-0000-4000-8000-000000000001", "--role", "king"], "'king' is not one of"),
        (["00000000-0000-4000-8000-000000000001", "--ttl", "0"], "is not in the range"),
    ],
)
def test_a_token_for_nobody_is_refused(arguments: list[str], problem: str) -> None:
    done = invoke("token", *arguments, jwt__secret=SECRET)
    assert (done.exit_code, done.stdout) == (2, "")
    assert problem in done.stderr


def test_a_token_needs_the_secret() -> None:
    jwks = "https://example.org/jwks.json"
    user = "00000000-0000-4000-8000-000000000001"
    done = invoke("token", user, jwt__jwks_url=jwks, jwt__audience="chat")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "chatserver: CHAT_JWT_SECRET is not set: there is nothing to sign with\n"
    )


def test_no_token_is_made_that_would_be_refused() -> None:
    user = "00000000-0000-4000-8000-000000000001"
    month = 30 * 24 * 60 * 60
    assert invoke("token", user, "--ttl", str(month), jwt__secret=SECRET).exit_code == 0
    done = invoke("token", user, "--ttl", str(month + 1), jwt__secret=SECRET)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "chatserver: --ttl is more than jwt.max_lifetime, 2592000: no node would take it\n"
    )
