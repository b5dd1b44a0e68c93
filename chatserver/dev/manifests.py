"""Output of `chatserver dev` and `cluster`: users, tokens, links, a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import orjson

from chatserver.auth.tokens import issue
from chatserver.dev.demo import (
    DEMO_LISTINGS,
    DEMO_USERS,
    LANDLORD,
    TENANT,
    DemoListing,
    DemoUser,
)
from chatserver.settings import JwtSettings

TOKEN_TTL: Final = 30 * 24 * 3600.0


def describe(
    jwt: JwtSettings, base_url: str, database_url: str, conversation_id: UUID
) -> dict[str, Any]:
    """The demo at `base_url`: a token and a link to the chat page for each of its users."""
    users = [_user(jwt, user) for user in DEMO_USERS]
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


def _user(jwt: JwtSettings, user: DemoUser) -> dict[str, str]:
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


def chat_link(base_url: str, state: dict[str, Any], user: DemoUser) -> str:
    """A link by which `user` opens the demo's conversation at `base_url`."""
    return page_link(base_url, state["tokens"][str(user.id)], UUID(state["conversation_id"]))


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


def write_private(path: Path, content: bytes) -> None:
    """At once or not at all, for its owner's eyes alone: it holds tokens and passwords."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)


def write_manifest(path: Path, state: dict[str, Any]) -> None:
    """Whoever can read the file can act as any demo user."""
    write_private(path, orjson.dumps(state, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
