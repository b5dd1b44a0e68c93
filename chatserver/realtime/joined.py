"""Conversations that a socket has joined, and the rooms in which it is for them."""

from collections.abc import Sequence
from uuid import UUID

from chatserver.realtime.room_names import (
    conversation_room,
    presence_room,
    privileged_room,
    user_room,
)
from chatserver.realtime.sessions import Joined, Session
from chatserver.services.typing import TypingService
from chatserver.sio.adapter import Adapter


class JoinedRooms:
    """Enters and leaves the rooms of a conversation and those of its people's presence.

    What happens in a conversation goes to its members' own rooms, and to `privileged_room`
    for admins and services who joined it. That is none of the channels between nodes: it
    is heard on that of a member, the same for all.
    """

    def __init__(self, adapter: Adapter, typing: TypingService) -> None:
        self._adapter = adapter
        self._typing = typing

    async def enter(
        self, sid: str, session: Session, conversation_id: UUID, members: Sequence[UUID]
    ) -> None:
        """`members` are those of the conversation, its client first.

        Returns when what other nodes tell the rooms is heard.
        """
        user_id = session.principal.user_id
        joined = session.joined[conversation_id] = Joined(
            peers=frozenset(members) - {user_id},
            channel=user_room(members[0]),
            is_visitor=user_id not in members,
        )
        self._enter(sid, conversation_room(conversation_id))
        for peer_id in joined.peers:
            self._enter(sid, presence_room(peer_id))
        if session.principal.is_privileged:
            self._enter(sid, privileged_room(conversation_id), joined.channel)
        await self._entered(conversation_id, joined)

    def leave(self, sid: str, session: Session, conversation_id: UUID) -> None:
        joined = session.joined.pop(conversation_id)
        self._leave(sid, conversation_room(conversation_id))
        self._leave(sid, privileged_room(conversation_id))
        for peer_id in joined.peers.difference(*(one.peers for one in session.joined.values())):
            self._leave(sid, presence_room(peer_id))
        self._typing.left(session.principal, conversation_id, sid)

    async def look_again(self, sid: str, session: Session) -> None:
        """Have the caller, who may have become another, hear what that one may, and no more."""
        for conversation_id, joined in list(session.joined.items()):
            if session.principal.is_privileged:
                self._enter(sid, privileged_room(conversation_id), joined.channel)
                await self._entered(conversation_id, joined)
            elif joined.is_visitor:
                self.leave(sid, session, conversation_id)
            else:
                self._leave(sid, privileged_room(conversation_id))

    def _enter(self, sid: str, room: str, channel: str | None = None) -> None:
        if (client := self._adapter.get_client(sid)) is not None:
            self._adapter.enter(client, room, channel)

    def _leave(self, sid: str, room: str) -> None:
        if (client := self._adapter.get_client(sid)) is not None:
            self._adapter.leave(client, room)

    async def _entered(self, conversation_id: UUID, joined: Joined) -> None:
        await self._adapter.entered(conversation_room(conversation_id))
        await self._adapter.entered(privileged_room(conversation_id))
        for peer_id in joined.peers:
            await self._adapter.entered(presence_room(peer_id))
