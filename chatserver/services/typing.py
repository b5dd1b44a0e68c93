"""Typing indicators: best effort, and never left on by a socket that is gone."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from chatserver.aio.batcher import Batcher
from chatserver.aio.caches import Cache
from chatserver.db.engine import Database
from chatserver.errors import ChatError, NotFound, Unavailable
from chatserver.events import Publisher, TypingChanged
from chatserver.models import Principal
from chatserver.repositories import conversations
from chatserver.repositories.conversations import Membership
from chatserver.services.access import check_may_write, may_access

BELIEVED_FOR: Final = 1.0
"""Seconds for which a conversation is taken to be as it was when it was looked up."""

CONVERSATIONS_AT_ONCE: Final = 1000
MAX_KNOWN: Final = 20_000
LOOK_UP_TIMEOUT: Final = 2.0

REPEAT_AFTER: Final = 3.0
"""Seconds between two times that a room is told that a socket types: clients believe it
for six."""


@dataclass(slots=True)
class _Place:
    """A conversation where a socket types or did until just now.

    `is_told` is what the room knows. While `timer` runs, it is not told again that the
    socket types; `is_due` says that it is when the time is over.
    """

    is_told: bool = False
    is_due: bool = False
    timer: asyncio.TimerHandle | None = None


class TypingService:
    """Remembers which sockets are typing where, so that it can take it back.

    A room is told of a socket once in REPEAT_AFTER seconds that it types, whatever that
    sends, and once that it no longer does.

    However many type, each conversation is looked up once in `believed_for` seconds, and
    those that are looked up at the same time share a statement. While the database is
    away, a conversation is taken to be open.
    """

    def __init__(
        self, database: Database, publisher: Publisher, *, believed_for: float = BELIEVED_FOR
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._typing: dict[str, dict[UUID, _Place]] = {}
        self._known = Cache[UUID, Membership | None](MAX_KNOWN, believed_for)
        self._look_ups = Batcher[UUID, Membership | None](
            self._look_up,
            max_batch=CONVERSATIONS_AT_ONCE,
            max_waiting=MAX_KNOWN,
            timeout=LOOK_UP_TIMEOUT,
        )

    async def set_typing(
        self, principal: Principal, conversation_id: UUID, socket_id: str, *, is_typing: bool
    ) -> None:
        """Tell the room. The caller has seen to it that the socket has joined it.

        Raises Forbidden in a closed conversation and for an observer, and NotFound in one
        that is no longer the caller's: there the socket types no more.
        """
        membership = await self._get_membership(conversation_id)
        if membership is not None:
            try:
                _check(principal, membership)
            except ChatError:
                self.left(principal, conversation_id, socket_id)
                raise
        if not is_typing:
            self.left(principal, conversation_id, socket_id)
            return
        place = self._typing.setdefault(socket_id, {}).setdefault(conversation_id, _Place())
        if place.timer is None:
            self._tell(principal, conversation_id, socket_id, place)
        else:
            place.is_due = True

    def left(self, principal: Principal, conversation_id: UUID, socket_id: str) -> None:
        """The socket stops, or leaves the room: if it was typing there, it no longer is."""
        place = self._typing.get(socket_id, {}).get(conversation_id)
        if place is None:
            return
        place.is_due = False
        if place.is_told:
            place.is_told = False
            self._publish(principal, conversation_id, False)
        if place.timer is None:
            self._forget(socket_id, conversation_id)

    def disconnected(self, principal: Principal, socket_id: str) -> None:
        """The socket is gone: it types nowhere any more."""
        for conversation_id, place in self._typing.pop(socket_id, {}).items():
            if place.timer is not None:
                place.timer.cancel()
            if place.is_told:
                self._publish(principal, conversation_id, False)

    def _tell(
        self, principal: Principal, conversation_id: UUID, socket_id: str, place: _Place
    ) -> None:
        """Tell the room that the socket types, which it is not told again for a while."""
        place.is_told, place.is_due = True, False
        place.timer = asyncio.get_running_loop().call_later(
            REPEAT_AFTER, self._end_wait, principal, conversation_id, socket_id, place
        )
        self._publish(principal, conversation_id, True)

    def _end_wait(
        self, principal: Principal, conversation_id: UUID, socket_id: str, place: _Place
    ) -> None:
        place.timer = None
        if place.is_due:
            self._tell(principal, conversation_id, socket_id, place)
        elif not place.is_told:
            self._forget(socket_id, conversation_id)

    async def _get_membership(self, conversation_id: UUID) -> Membership | None:
        """Return it as it was a moment ago; None where the database was always away."""
        known = self._known.get_stale(conversation_id)
        if conversation_id in self._known:
            return known
        try:
            return await self._look_ups.submit(conversation_id)
        except Unavailable:
            return known

    async def _look_up(self, conversation_ids: list[UUID]) -> list[Membership | Exception | None]:
        async with self._database.reads() as connection:
            found = await conversations.list_memberships(connection, conversation_ids)
        by_id = {membership.id: membership for membership in found}
        for conversation_id in conversation_ids:
            self._known.put(conversation_id, by_id.get(conversation_id))
        return [by_id.get(conversation_id) for conversation_id in conversation_ids]

    def _forget(self, socket_id: str, conversation_id: UUID) -> None:
        places = self._typing[socket_id]
        del places[conversation_id]
        if not places:
            del self._typing[socket_id]

    def _publish(self, principal: Principal, conversation_id: UUID, is_typing: bool) -> None:
        membership = self._known.get_stale(conversation_id)
        self._publisher.publish(
            TypingChanged(
                conversation_id=conversation_id,
                user_id=principal.user_id,
                is_typing=is_typing,
                timestamp=datetime.now(UTC),
                member_ids=None if membership is None else membership.member_ids,
            )
        )


def _check(principal: Principal, membership: Membership) -> None:
    if not may_access(principal, membership):
        raise NotFound
    check_may_write(principal, membership)
