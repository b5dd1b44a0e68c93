"""`chatserver dev`: the whole product on one machine, with nothing else installed."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import click
import orjson

from chatserver import logs
from chatserver.app import StartError
from chatserver.auth import issue
from chatserver.db.engine import create_engine
from chatserver.db.migrations import upgrade
from chatserver.dev.demo import (
    DEMO_LISTINGS,
    DEMO_USERS,
    LANDLORD,
    TENANT,
    DemoListing,
    DemoUser,
    load_demo,
    open_demo_conversation,
)
from chatserver.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError
from chatserver.serving import serve
from chatserver.settings import Settings

DATABASE: Final = "chat"
TOKEN_TTL: Final = 30 * 24 * 3600.0
WEB_ROOT: Final = Path(__file__).parents[2] / "client" / "web" / "dist"
"""Where a checkout builds the chat page; an installed package has none."""


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
            if not settings.server.web_root and (WEB_ROOT / "index.html").exists():
                settings = settings.override(server__web_root=str(WEB_ROOT))
            logs.configure(settings.logging)
            conversation_id = await _prepare(settings)
            database_url = postgres.tcp_url(DATABASE).replace("+asyncpg", "")
            state = _state(settings, database_url, conversation_id)
            _write(data_dir / "dev.json", state)
            await serve(settings, on_ready=lambda: _greet(state, data_dir))
    except EmbeddedPostgresError as error:
        raise StartError(str(error)) from error


async def _prepare(settings: Settings) -> UUID:
    """The demo's data is there then; answers the id of its conversation."""
    await upgrade(settings.database.url)
    engine = create_engine(settings.database.url, pool_size=1)
    try:
        await load_demo(engine)
        return await open_demo_conversation(engine, settings.presence)
    finally:
        await engine.dispose()


def _state(settings: Settings, database_url: str, conversation_id: UUID) -> dict[str, Any]:
    base_url = f"http://{settings.server.host}:{settings.server.port}"
    users = [_user(settings, user) for user in DEMO_USERS]
    for user, known in zip(users, DEMO_USERS, strict=True):
        user["link"] = page_link(
            base_url,
            user["token"],
            conversation_id if known in (TENANT, LANDLORD) else None,
            [listing for listing in DEMO_LISTINGS if listing.owner_user_id != known.id],
        )
    return {
        "base_url": base_url,
        "database_url": database_url,
        "conversation_id": str(conversation_id),
        "tokens": {user["id"]: user["token"] for user in users},
        "users": users,
        "listings": [
            {"id": str(listing.id), "owner_user_id": str(listing.owner_user_id),
             "title": listing.title}
            for listing in DEMO_LISTINGS
        ],
    }  # fmt: skip


def _user(settings: Settings, user: DemoUser) -> dict[str, str]:
    jwt = settings.jwt
    return {
        "id": str(user.id),
        "name": f"{user.first_name} {user.last_name}",
        "email": user.email,
        "role": user.role.value,
        "token": issue(
            jwt.secret, user.id, user.role, TOKEN_TTL,
            issuer=jwt.issuer or None, audience=jwt.audience or None,
        ),
    }  # fmt: skip


def page_link(
    base_url: str,
    token: str,
    conversation_id: UUID | None = None,
    offers: Sequence[DemoListing] = (),
) -> str:
    """A link to the chat page: whose it is, what it opens, which listings it offers.

    All of it is in the fragment, which browsers send to no server.
    """
    parts = [("token", token)]
    if conversation_id is not None:
        parts.append(("conversation", str(conversation_id)))
    parts += [("offer", f"{listing.id}~{listing.title}") for listing in offers]
    return f"{base_url}/#{urlencode(parts, safe='~', quote_via=quote)}"


def _write(path: Path, state: dict[str, Any]) -> None:
    """Whoever can read the file can act as any demo user, so only its owner can."""
    content = orjson.dumps(state, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _greet(state: dict[str, Any], data_dir: Path) -> None:
    base, conversation_id = state["base_url"], UUID(state["conversation_id"])
    chats = "\n".join(
        f"  {user.first_name}, the {role}:\n"
        f"    {page_link(base, state['tokens'][str(user.id)], conversation_id)}"
        for role, user in (("tenant", TENANT), ("landlord", LANDLORD))
    )
    click.echo(
        f"\nThe chat server is ready at {base}\n\n"
        f"Open both in two windows and chat:\n{chats}\n\n"
        f"  API reference    {base}/api/docs\n"
        f"  Everybody's link and token: {data_dir / 'dev.json'}\n\n"
        "Stop with Ctrl+C; the data stays.\n"
    )
