"""Conversations that a socket has joined, and the rooms in which it is for them."""

from uuid import UUID

from chatserver.realtime.sessions import Session
from chatserver.services.typing import TypingService
from chatserver.sio.adapter import conversation_room, presence_room
from chatserver.sio.server import ChatSocketServer


class JoinedRooms:
    """Enters and leaves the room of a conversation and those of its people's presence."""

    def __init__(self, server: ChatSocketServer, typing: TypingService) -> None:
        self._server = server
        self._typing = typing

    async def enter(
        self, sid: str, session: Session, conversation_id: UUID, participants: tuple[UUID, UUID]
    ) -> None:
        peers = set(participants) - {session.principal.user_id}
        session.joined[conversation_id] = peers
        if session.principal.user_id not in participants:
            session.visited.add(conversation_id)
        await self._server.enter_room(sid, conversation_room(conversation_id))
        for peer_id in peers:
            await self._server.enter_room(sid, presence_room(peer_id))

    async def leave(self, sid: str, session: Session, conversation_id: UUID) -> None:
        peers = session.joined.pop(conversation_id)
        session.visited.discard(conversation_id)
        await self._server.leave_room(sid, conversation_room(conversation_id))
        for peer_id in peers.difference(*session.joined.values()):
            await self._server.leave_room(sid, presence_room(peer_id))
        self._typing.left(session.principal, conversation_id, sid)

    async def look_again(self, sid: str, session: Session) -> None:
        """Leave what the caller, who may have become another, may no longer hear."""
        if not session.principal.is_privileged:
            for conversation_id in list(session.visited):
                await self.leave(sid, session, conversation_id)
