"""Typing indicators: best effort, and never left on by a socket that is gone."""

from datetime import UTC, datetime
from uuid import UUID

from chatserver.events import Publisher, TypingChanged
from chatserver.models import Principal


class TypingService:
    """Remembers which sockets are typing where, so that it can take it back."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._typing: dict[str, set[UUID]] = {}

    def set_typing(
        self, principal: Principal, conversation_id: UUID, socket_id: str, *, is_typing: bool
    ) -> None:
        """Tell the room. The caller has seen to it that the socket has joined it."""
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
