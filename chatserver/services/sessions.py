"""Sessions: from a token to a caller who exists."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from chatserver.aio.batcher import Batcher
from chatserver.aio.caches import Cache
from chatserver.auth.tokens import TokenVerifier
from chatserver.db.engine import Database
from chatserver.errors import Forbidden, Unauthorized
from chatserver.models import Principal
from chatserver.repositories import users
from chatserver.services.revocations import RevocationService

MAX_CACHED_USERS = 50_000

USERS_AT_ONCE: Final = 1000
"""Number of users asked for in one statement."""

MAX_WAITING: Final = 10_000
LOOK_UP_TIMEOUT: Final = 10.0


class SessionService:
    """Verifies tokens and that their users exist, which it believes for a while."""

    def __init__(
        self,
        database: Database,
        verifier: TokenVerifier,
        revocations: RevocationService,
        user_cache_ttl: float,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._revocations = revocations
        self._known = Cache[UUID, None](MAX_CACHED_USERS, user_cache_ttl)
        # When thousands of sockets come back at once, they share a connection.
        self._look_ups = Batcher[UUID, bool](
            self._exist,
            max_batch=USERS_AT_ONCE,
            max_waiting=MAX_WAITING,
            timeout=LOOK_UP_TIMEOUT,
        )

    async def authenticate(self, token: str | None) -> Principal:
        """Return the caller. Raises Unauthorized, the same for every bad token, and Unavailable."""
        if not token:
            raise Unauthorized
        principal = await self._verifier.verify(token)
        if principal.user_id not in self._known:
            await self._look_up(principal.user_id)
        # Last: nothing is waited for between this and the answer.
        if self._revocations.refuses(principal):
            raise Unauthorized
        return principal

    async def renew(self, principal: Principal, token: str | None) -> Principal:
        """Like `authenticate`, for a caller who goes on with a fresh token.

        Raises Forbidden when the token is another user's.
        """
        renewed = await self.authenticate(token)
        if renewed.user_id != principal.user_id:
            raise Forbidden("The token is another user's.")
        return renewed

    async def find_vanished(self, user_ids: Collection[UUID]) -> set[UUID]:
        """Return those of `user_ids` that no longer exist; from now on they are refused."""
        asked, vanished = list(user_ids), set[UUID]()
        for start in range(0, len(asked), USERS_AT_ONCE):
            some = asked[start : start + USERS_AT_ONCE]
            async with self._database.reads() as connection:
                vanished.update(await users.list_missing(connection, some))
        for user_id in vanished:
            self._known.drop(user_id)
        return vanished

    async def _exist(self, user_ids: list[UUID]) -> list[bool | Exception]:
        async with self._database.reads() as connection:
            missing = set(await users.list_missing(connection, user_ids))
        return [user_id not in missing for user_id in user_ids]

    async def _look_up(self, user_id: UUID) -> None:
        if not await self._look_ups.submit(user_id):
            raise Unauthorized
        self._known.put(user_id, None)
