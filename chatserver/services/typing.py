"""Typing indicators: best effort, and never left on by a socket that is gone."""

import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from chatserver.db.engine import Database
from chatserver.errors import Unavailable
from chatserver.events import Publisher, TypingChanged
from chatserver.models import Principal
from chatserver.repositories import conversations
from chatserver.services.access import closed
from chatserver.services.batcher import Batcher

BELIEVED_FOR: Final = 5.0
"""Seconds for which a conversation stays open, or closed, without being looked up again."""

CONVERSATIONS_AT_ONCE: Final = 1000
MAX_KNOWN: Final = 20_000
LOOK_UP_TIMEOUT: Final = 2.0


class TypingService:
    """Remembers which sockets are typing where, so that it can take it back.

    However many type, each conversation is looked up once in `believed_for` seconds, and
    those that are looked up at the same time share a statement. While the database is
    away, a conversation is taken to be open.
    """

    def __init__(
        self, database: Database, publisher: Publisher, *, believed_for: float = BELIEVED_FOR
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._believed_for = believed_for
        self._typing: dict[str, set[UUID]] = {}
        # When each was looked up, the longest ago first, and whether it was closed.
        self._known: OrderedDict[UUID, tuple[float, bool]] = OrderedDict()
        self._look_ups = Batcher[UUID, bool](
            self._are_closed,
            max_batch=CONVERSATIONS_AT_ONCE,
            max_waiting=MAX_KNOWN,
            timeout=LOOK_UP_TIMEOUT,
        )

    async def set_typing(
        self, principal: Principal, conversation_id: UUID, socket_id: str, *, is_typing: bool
    ) -> None:
        """Tell the room. The caller has seen to it that the socket has joined it.

        Raises Forbidden in a closed conversation, where the socket types no more.
        """
        if await self._is_closed(conversation_id):
            self.left(principal, conversation_id, socket_id)
            raise closed()
        if is_typing:
            self._typing.setdefault(socket_id, set()).add(conversation_id)
        else:
            self._forget(socket_id, conversation_id)
        self._publish(principal, conversation_id, is_typing)

    def left(self, principal: Principal, conversation_id: UUID, socket_id: str) -> None:
        """The socket leaves the room: if it was typing there, it no longer is."""
        if self._forget(socket_id, conversation_id):
            self._publish(principal, conversation_id, False)

    def disconnected(self, principal: Principal, socket_id: str) -> None:
        """The socket is gone: it types nowhere any more."""
        for conversation_id in self._typing.pop(socket_id, ()):
            self._publish(principal, conversation_id, False)

    async def _is_closed(self, conversation_id: UUID) -> bool:
        looked_at, is_closed = self._known.get(conversation_id, (None, False))
        if looked_at is not None and time.monotonic() < looked_at + self._believed_for:
            return is_closed
        try:
            return await self._look_ups.submit(conversation_id)
        except Unavailable:
            return is_closed

    async def _are_closed(self, conversation_ids: list[UUID]) -> list[bool | Exception]:
        async with self._database.reads() as connection:
            found = await conversations.list_closed(connection, conversation_ids)
        now = time.monotonic()
        for conversation_id in conversation_ids:
            self._known[conversation_id] = now, conversation_id in found
            self._known.move_to_end(conversation_id)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return [conversation_id in found for conversation_id in conversation_ids]

    def _forget(self, socket_id: str, conversation_id: UUID) -> bool:
        places = self._typing.get(socket_id)
        if places is None or conversation_id not in places:
            return False
        places.discard(conversation_id)
        if not places:
            del self._typing[socket_id]
        return True

    def _publish(self, principal: Principal, conversation_id: UUID, is_typing: bool) -> None:
        self._publisher.publish(
            TypingChanged(
                conversation_id=conversation_id,
                user_id=principal.user_id,
                is_typing=is_typing,
                timestamp=datetime.now(UTC),
            )
        )
