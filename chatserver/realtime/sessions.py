"""Sessions of sockets: who is at the other end, until when, and what they were refused."""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID

from aiohttp import web

from chatserver.eio.handshakes import Environ
from chatserver.eio.handshakes import environ_of as plain_environ_of
from chatserver.errors import TOLD_GRACE, RateLimited, TokenExpired, Unauthorized
from chatserver.http.strangers import COUNTED, COUNTED_ADDRESS
from chatserver.models import Principal
from chatserver.sio.server import SocketServer

TOLERATED: Final = 20
"""So many events may come, too late to have been under way, of a socket that has to wait."""

MAX_TIMER: Final = timedelta(days=30)
"""A token that lives longer is looked at again after this time."""


@dataclass(slots=True)
class Refusals:
    """Count of refused events of one socket: told at `told_at` to wait until `until`."""

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


@dataclass(frozen=True, slots=True)
class Joined:
    """A conversation in whose room a socket is: who else is in it, and on which member's
    room, as a channel, other nodes tell of it. A visitor takes no part in it."""

    peers: frozenset[UUID]
    channel: str
    is_visitor: bool


@dataclass(slots=True)
class Session:
    """State that the node keeps of one socket. `expiry` fires when the token has run out."""

    principal: Principal
    joined: dict[UUID, Joined] = field(default_factory=dict)
    expiry: asyncio.TimerHandle | None = None
    refusals: Refusals = field(default_factory=Refusals)


class Sessions:
    """The sessions of this node's sockets, each of which ends when its token runs out."""

    def __init__(self, sockets: SocketServer, leeway: float) -> None:
        """A token may still be presented for `leeway` seconds after its end."""
        self._sockets = sockets
        self._leeway = timedelta(seconds=leeway)
        self._sessions: dict[str, Session] = {}

    def __getitem__(self, sid: str) -> Session:
        return self._sessions[sid]

    def open(self, sid: str, principal: Principal) -> None:
        session = self._sessions[sid] = Session(principal)
        self._watch_expiry(sid, session)

    def renew(self, sid: str, principal: Principal) -> None:
        """The socket has shown a fresh token."""
        session = self._sessions[sid]
        session.principal = principal
        self._watch_expiry(sid, session)

    def close(self, sid: str) -> Session:
        """Forget the session; what it was."""
        session = self._sessions.pop(sid)
        if session.expiry is not None:
            session.expiry.cancel()
        return session

    def open_sockets(self) -> list[tuple[UUID, str]]:
        """The user and the id of each socket of this node."""
        return [(session.principal.user_id, sid) for sid, session in self._sessions.items()]

    def open_users(self) -> set[UUID]:
        """Users who have a socket on this node."""
        return {session.principal.user_id for session in self._sessions.values()}

    def close_users(self, user_ids: Container[UUID]) -> None:
        """End the sockets of these users: their tokens are good no more."""
        self.end_where(lambda principal: principal.user_id in user_ids)

    def end_where(self, is_refused: Callable[[Principal], bool]) -> None:
        for sid in [sid for sid, one in self._sessions.items() if is_refused(one.principal)]:
            self.end(sid, Unauthorized())

    def end(self, sid: str, error: Unauthorized) -> None:
        """Tell a socket why, and end it for good."""
        self._sockets.adapter.emit_local("error", error.to_dict(), [sid])
        self._sockets.disconnect(sid)

    def turn_away(self, sid: str, error: RateLimited) -> bool:
        """Close a socket that goes on although it was told to wait; whether it does."""
        refusals = self._sessions[sid].refusals
        if not refusals.add(asyncio.get_running_loop().time(), error.retry_after or 0.0):
            return False
        self._sockets.adapter.emit_local("error", error.to_dict(), [sid])
        self._sockets.turn_away(sid)
        return True

    def _watch_expiry(self, sid: str, session: Session) -> None:
        """Have the socket closed when its token runs out.

        A socket opened after that, in the leeway, lives until the leeway is over.
        """
        if session.expiry is not None:
            session.expiry.cancel()
        now, end = datetime.now(UTC), session.principal.expires_at
        if end <= now:
            end += self._leeway
        delay = min(max(end - now, timedelta(0)), MAX_TIMER)
        session.expiry = asyncio.get_running_loop().call_later(
            delay.total_seconds(), self._expire, sid, session
        )

    def _expire(self, sid: str, session: Session) -> None:
        if session.principal.expires_at > datetime.now(UTC):
            self._watch_expiry(sid, session)
            return
        self.end(sid, TokenExpired())


def environ_of(request: web.Request) -> Environ:
    """The part of a handshake that the connect handler gets, with the address it is counted on."""
    return {**plain_environ_of(request), COUNTED_ADDRESS: request.get(COUNTED, "")}


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
