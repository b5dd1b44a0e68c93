"""`chatserver dev`: the whole product on one machine, with nothing else installed."""

from pathlib import Path
from typing import Any, Final

import click

from chatserver.app import StartError
from chatserver.dev.demo import LANDLORD, TENANT, prepare_demo
from chatserver.dev.manifests import chat_link, describe, write_manifest
from chatserver.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError
from chatserver.serving import serve
from chatserver.settings import Settings
from chatserver.telemetry import logs

DATABASE: Final = "chat"


async def run_dev(port: int, data_dir: Path) -> None:
    """Serve on 127.0.0.1:`port` until SIGTERM or SIGINT; the data stays in `data_dir`.

    Writes `data_dir`/dev.json with the addresses, and a token and a link to the chat
    page for each demo user.
    Raises StartError.
    """
    try:
        async with EmbeddedPostgres(data_dir / "postgres", tcp=True) as postgres:
            await postgres.create_database(DATABASE)
            settings = Settings.load(
                "dev",
                overrides={"database.url": postgres.url(DATABASE), "server.port": port},
            )
            logs.configure(settings.logging)
            conversation_id = await prepare_demo(settings)
            base_url = f"http://{settings.server.host}:{settings.server.port}"
            database_url = postgres.tcp_url(DATABASE).replace("+asyncpg", "")
            state = describe(settings.jwt, base_url, database_url, conversation_id)
            write_manifest(data_dir / "dev.json", state)
            await serve(settings, on_ready=lambda: _greet(state, data_dir))
    except EmbeddedPostgresError as error:
        raise StartError(str(error)) from error


def _greet(state: dict[str, Any], data_dir: Path) -> None:
    base = state["base_url"]
    chats = "\n".join(
        f"  {user.first_name}, the {role}:\n    {chat_link(base, state, user)}"
        for role, user in (("tenant", TENANT), ("landlord", LANDLORD))
    )
    click.echo(
        f"\nThe chat server is ready at {base}\n\n"
        f"Open both in two windows and chat:\n{chats}\n\n"
        f"  API reference    {base}/api/docs\n"
        f"  Everybody's link and token: {data_dir / 'dev.json'}\n\n"
        "Stop with Ctrl+C; the data stays.\n"
    )
