"""Revocations: tokens and users that are refused, known to every node within seconds.

PostgreSQL has them; each node holds them in memory, so that to verify a token asks
nobody, and reads every moment what has changed. See docs/decisions/revocations.md.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from chatserver.db.engine import Database
from chatserver.errors import Forbidden, InvalidPayload, NotFound, Unavailable
from chatserver.models import Principal, Revocation
from chatserver.repositories import conversations, revocations

POLL_INTERVAL: Final = 0.75
POLL_TIMEOUT: Final = 1.0
"""Seconds. With one poll lost a node hears of a revocation within twice the first, the second,
and the two seconds that it takes to give up a connection which is silent: 4.5 in all."""

OVERLAP: Final = 5
"""Each poll reads what has changed since so many polls ago. After a crash PostgreSQL gives the
numbers of its last, lost transactions out again: a mark from before that moment is good."""

RELOAD_INTERVAL: Final = 600.0
"""Seconds after which all is read anew; so it is after every failure."""


class Revocations:
    """Revocations that a node knows."""

    def __init__(self, leeway: float) -> None:
        """`leeway`: for so many seconds a token is accepted after its end."""
        self._leeway = timedelta(seconds=leeway)
        self._held: dict[str | UUID, Revocation] = {}

    def __len__(self) -> int:
        return len(self._held)

    def refuse(self, principal: Principal) -> bool:
        """Return whether the caller's token is among those that are refused."""
        token = self._held.get(principal.token_id) if principal.token_id else None
        if token is not None and self._stands(token):
            return True
        user = self._held.get(principal.user_id)
        return (
            user is not None
            and self._stands(user)
            and (principal.issued_at is None or principal.issued_at < user.revoked_at)
        )

    def _stands(self, revocation: Revocation) -> bool:
        end = revocation.expires_at
        return end is None or end > datetime.now(UTC) - self._leeway

    def learn(self, changed: Iterable[Revocation]) -> bool:
        """Take in how these are now; whether one of them is new, or renewed."""
        is_news = False
        for revocation in changed:
            key = _key(revocation)
            if revocation.is_lifted:
                self._held.pop(key, None)
            elif self._held.get(key) != revocation:
                self._held[key] = revocation
                is_news = True
        return is_news

    def replace(self, everything: Collection[Revocation]) -> bool:
        """Like `learn`, and forget all others."""
        for key in self._held.keys() - {_key(revocation) for revocation in everything}:
            del self._held[key]
        return self.learn(everything)


def _key(revocation: Revocation) -> str | UUID:
    key = revocation.jti or revocation.user_id
    assert key is not None
    return key


class RevocationService:
    """Revokes, and hears of what other nodes or the host's own SQL revoked.

    On the node that is asked a revocation holds when `revoke` returns, on every other
    one within five seconds (for as long as the node reaches the database).
    """

    def __init__(self, database: Database, leeway: float) -> None:
        self._database = database
        self._leeway = timedelta(seconds=leeway)
        self._known = Revocations(leeway)
        self._own: list[Revocation] = []
        self._marks: deque[int] = deque(maxlen=OVERLAP)
        self._loaded_at = float("-inf")
        self._read_at = time.monotonic()
        self._is_loaded = False
        self._is_behind = False
        self._listeners: list[Callable[[], None]] = []
        self._log = structlog.get_logger(__name__)

    def __len__(self) -> int:
        """Number of revocations that this node holds."""
        return len(self._known)

    @property
    def age(self) -> float:
        """Seconds since the table was last read."""
        return time.monotonic() - self._read_at

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever `refuses` may have become true of someone."""
        self._listeners.append(listener)

    def refuses(self, principal: Principal) -> bool:
        """Return whether the token that `principal` came with is revoked.

        Raises Unavailable while nothing is known yet.
        """
        if not self._is_loaded:
            raise Unavailable("The revocations are not read yet.", retry_after=POLL_INTERVAL)
        return self._known.refuse(principal)

    async def revoke(
        self,
        principal: Principal,
        *,
        jti: str | None = None,
        user_id: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Revocation, bool]:
        """Refuse a token, or all of a user's that were issued before now; whether that is new.

        A repeat answers the first one; a user's then includes tokens issued since. After
        `expires_at`, when the last of these tokens has expired, it may be forgotten.
        Raises Forbidden, and InvalidPayload for a time that is over.
        """
        _check_privileged(principal)
        async with self._database.transaction() as connection:
            if expires_at is not None and expires_at <= await conversations.now(connection):
                raise InvalidPayload(fields={"expires_at": ["Must be in the future."]})
            if jti is not None:
                added = await revocations.add_token(connection, jti, expires_at)
            else:
                assert user_id is not None
                added = await revocations.add_user(connection, user_id, expires_at)
        self._take(principal, added[0])
        return added

    async def lift(self, principal: Principal, revocation_id: UUID) -> None:
        """Accept again what it refused. Raises Forbidden, and NotFound for none that stands."""
        _check_privileged(principal)
        async with self._database.transaction() as connection:
            revocation = await revocations.lift(connection, revocation_id)
        if revocation is None:
            raise NotFound
        self._take(principal, revocation)

    def _take(self, principal: Principal, revocation: Revocation) -> None:
        self._log.info(
            "revocation_lifted" if revocation.is_lifted else "revoked",
            revocation_id=str(revocation.id),
            user_id=str(revocation.user_id) if revocation.user_id else None,
            by=str(principal.user_id),
        )
        self._own.append(revocation)
        if self._known.learn([revocation]):
            self._tell()

    async def poll(self) -> None:
        """Read what has changed; to be called every POLL_INTERVAL.

        While the database is away what is known stays known, and then all is read anew.
        """
        try:
            is_news = await self._read()
        except (Unavailable, TimeoutError):
            self._loaded_at = float("-inf")
            if not self._is_behind:
                self._is_behind = True
                self._log.warning("revocations_poll_failed")
            return
        self._is_behind = False
        self._read_at = time.monotonic()
        if is_news:
            self._tell()

    async def _read(self) -> bool:
        is_whole = time.monotonic() - self._loaded_at >= RELOAD_INTERVAL
        self._own.clear()
        if is_whole:
            found, mark = await self._read_whole()
            is_news = self._known.replace(found)
            self._marks.clear()
            self._loaded_at = time.monotonic()
            self._is_loaded = True
        else:
            async with asyncio.timeout(POLL_TIMEOUT), self._database.transaction() as connection:
                changes = await revocations.list_changes(connection, self._marks[0])
            mark = changes.mark
            is_news = self._known.learn(changes.revocations)
        self._marks.append(mark)
        # What was read may be from before what this node itself did meanwhile.
        return self._known.learn(self._own) or is_news

    async def _read_whole(self) -> tuple[list[Revocation], int]:
        """All that stand, a page at a time, and a mark from before the first page."""
        at = datetime.now(UTC) - self._leeway
        found: list[Revocation] = []
        async with asyncio.timeout(POLL_TIMEOUT), self._database.transaction() as connection:
            mark = await revocations.get_mark(connection)
        while True:
            after = found[-1].id if found else None
            async with asyncio.timeout(POLL_TIMEOUT), self._database.transaction() as connection:
                page = await revocations.list_standing(connection, at, after)
            found += page
            if len(page) < revocations.PAGE:
                return found, mark

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    async def delete_over(self) -> None:
        """Delete what can be of no more use; to be called every day."""
        async with self._database.transaction() as connection:
            deleted = await revocations.delete_over(connection)
        if deleted:
            self._log.info("revocations_deleted", count=deleted)


def _check_privileged(principal: Principal) -> None:
    if not principal.is_privileged:
        raise Forbidden
