"""Sessions of sockets: who is at the other end, what they joined, what they were refused."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID

from chatserver.eio.handshakes import Environ
from chatserver.errors import TOLD_GRACE
from chatserver.models import Principal

TOLERATED: Final = 20
"""So many events may come, too late to have been under way, of a socket that has to wait."""


@dataclass(slots=True)
class Refusals:
    """What one socket sent while it had to wait: `until` when, and since when it knows."""

    told_at: float = 0.0
    until: float = 0.0
    count: int = 0

    def add(self, now: float, retry_after: float) -> bool:
        """Count one more: whether the socket goes on although it was told."""
        if now >= self.until:
            self.told_at, self.count = now, 0
        self.until = now + retry_after
        self.count += now - self.told_at > TOLD_GRACE
        return self.count > TOLERATED


@dataclass(slots=True)
class Session:
    """What the node knows of one socket. `expiry` fires when the token has run out.

    `joined` has for each conversation in whose room the socket is the others in it;
    in those that are also `visited` the caller takes no part.
    """

    principal: Principal
    joined: dict[UUID, set[UUID]] = field(default_factory=dict)
    visited: set[UUID] = field(default_factory=set)
    expiry: asyncio.TimerHandle | None = None
    refusals: Refusals = field(default_factory=Refusals)


def handshake_token(
    environ: Environ, auth: dict[str, Any] | None, *, takes_query: bool
) -> str | None:
    """From the handshake's `auth`, else the Authorization header, else the query."""
    token = (auth or {}).get("token")
    if isinstance(token, str) and token:
        return token
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip()
    if takes_query:
        return parse_qs(environ.get("QUERY_STRING", "")).get("token", [None])[0]
    return None
