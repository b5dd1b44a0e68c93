"""Connections of each conversation: the seed's ConnectionManager."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from fastapi import WebSocket


class Connections:
    """Sockets for each user, and users for each conversation."""

    def __init__(self) -> None:
        self._sockets: defaultdict[UUID, set[WebSocket]] = defaultdict(set)
        self._users: defaultdict[UUID, set[UUID]] = defaultdict(set)

    def add(self, socket: WebSocket, user_id: UUID, conversation_id: UUID) -> None:
        self._sockets[user_id].add(socket)
        self._users[conversation_id].add(user_id)

    def remove(self, socket: WebSocket, user_id: UUID, conversation_id: UUID) -> None:
        self._sockets[user_id].discard(socket)
        if not self._sockets[user_id]:
            del self._sockets[user_id]
            self._users[conversation_id].discard(user_id)

    async def broadcast(
        self, payload: dict[str, Any], conversation_id: UUID, but: UUID | None = None
    ) -> None:
        """To every socket of the conversation's people, one after the other."""
        for user_id in list(self._users[conversation_id]):
            if user_id != but:
                for socket in list(self._sockets[user_id]):
                    await socket.send_json(payload)
