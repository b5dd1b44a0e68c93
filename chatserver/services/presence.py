"""Presence: who is online, by leases that sockets hold, and when the others last were."""

import asyncio
from collections.abc import Sequence, Set
from contextvars import Context
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from chatserver.backplane.leases import Leases, TooManyLeases
from chatserver.db.engine import Database
from chatserver.errors import NotFound, RateLimited, Unavailable
from chatserver.events import PresenceChanged, Publisher
from chatserver.models import Conversation, Presence, Principal
from chatserver.repositories import conversations, users
from chatserver.settings import PresenceSettings

RETRY_AFTER: Final = 1.0


class PresenceService:
    """A user is online while any of their sockets holds a live lease.

    Where the database is away, a change is told once it is back.
    """

    def __init__(
        self,
        database: Database,
        requests: Database,
        leases: Leases,
        publisher: Publisher,
        settings: PresenceSettings,
        *,
        max_sockets: int = 0,
    ) -> None:
        """`requests` is the bulkhead of the calls. `max_sockets` is how many a user may have
        open at a time; 0 is any number.
        """
        self._database = database
        self._requests = requests
        self._leases = leases
        self._publisher = publisher
        self._settings = settings
        self._max_sockets = max_sockets
        self._untold: set[UUID] = set()
        # When thousands of sockets come back at once, they share a transaction.
        self._arrived: set[UUID] = set()
        self._telling: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    async def get(self, principal: Principal, user_id: UUID) -> Presence:
        """The presence of someone whom the caller shares a conversation with, or NotFound."""
        async with self._requests.reads() as connection:
            if not principal.is_privileged and not await conversations.is_shared(
                connection, principal.user_id, user_id
            ):
                raise NotFound
            if not await users.user_exists(connection, user_id):
                raise NotFound
            last_seen_at = await users.get_last_seen(connection, user_id)
        online = await self._leases.online([user_id])
        return Presence(user_id, user_id in online, last_seen_at)

    async def fill_in(self, views: Sequence[Conversation]) -> list[Conversation]:
        """The same conversations, with whether anyone of the other side is online now."""
        asked = {user_id for view in views for user_id in _peers(view)}
        online = await self._leases.online(asked)
        return [
            replace(view, peer_presence=replace(peers, is_online=True))
            if (peers := view.peer_presence) and not online.isdisjoint(peers.user_ids)
            else view
            for view in views
        ]

    async def connected(self, user_id: UUID, socket_id: str) -> None:
        """A socket of the user has opened. Raises RateLimited if they have too many.

        Others are told of it soon; the socket does not wait for that.
        """
        try:
            came_online = await self._leases.acquire(
                user_id, socket_id, self._settings.lease_ttl, self._max_sockets
            )
        except TooManyLeases:
            raise RateLimited(
                "The user has too many open sockets.", retry_after=RETRY_AFTER
            ) from None
        if came_online:
            self._arrived.add(user_id)
            if self._telling is None:
                # In no caller's context: its log records are about many of them.
                self._telling = asyncio.create_task(self._tell_arrived(), context=Context())

    async def disconnected(self, user_id: UUID, socket_id: str) -> None:
        """A socket of the user is gone; unless another opens soon, so is the user."""
        await self._leases.shorten(user_id, socket_id, self._settings.offline_grace)

    async def close(self) -> None:
        """Finish telling of those who came."""
        if self._telling is not None:
            await self._telling

    async def renew(self, sockets: Sequence[tuple[UUID, str]]) -> None:
        """These sockets of this node are still open."""
        await self._leases.renew(sockets, self._settings.lease_ttl)

    async def expire(self) -> None:
        """Tell of those who are offline by now; to be called every second or so."""
        changed = self._untold.union(await self._leases.expire())
        if changed:
            await self._tell(changed)

    async def _tell_arrived(self) -> None:
        """Tell of those who came, and of those who came meanwhile."""
        try:
            while self._arrived:
                arrived, self._arrived = self._arrived, set()
                try:
                    await self._tell(arrived)
                except Exception:
                    self._untold |= arrived
                    self._log.warning("presence_publish_failed", users=len(arrived), exc_info=True)
        finally:
            self._telling = None

    async def _tell(self, user_ids: Set[UUID]) -> None:
        """Tell how it is with each of them now, which while we asked may have changed again."""
        try:
            async with self._database.transaction() as connection:
                at = await users.set_last_seen(connection, user_ids)
        except Unavailable:
            self._untold |= user_ids
            self._log.warning("presence_publish_failed", users=len(user_ids))
            return
        except asyncio.CancelledError:
            self._untold |= user_ids
            raise
        self._untold -= user_ids
        online = await self._leases.online(user_ids)
        for user_id in user_ids:
            self._publisher.publish(
                PresenceChanged(
                    presence=Presence(user_id, user_id in online, at),
                    timestamp=at,
                )
            )
        await self._leases.settle(user_ids)


def _peers(view: Conversation) -> Sequence[UUID]:
    return () if view.peer_presence is None else view.peer_presence.user_ids
