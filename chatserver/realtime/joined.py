"""Conversations that a socket has joined, and the rooms in which it is for them."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from chatserver.errors import ChatError, NotFound
from chatserver.realtime.raw_clients import RawClient
from chatserver.realtime.room_names import (
    conversation_room,
    presence_room,
    privileged_room,
    user_room,
)
from chatserver.realtime.sessions import Joined, Session
from chatserver.services.conversations import ConversationService
from chatserver.services.typing import TypingService
from chatserver.sio.adapter import Adapter


class JoinedRooms:
    """Enters and leaves the rooms of a conversation and those of its people's presence.

    What happens in a conversation goes to its members' own rooms, and to `privileged_room`
    for admins and services who joined it. That is none of the channels between nodes: it
    is heard on that of a member, the same for all.
    """

    def __init__(
        self, adapter: Adapter, conversations: ConversationService, typing: TypingService
    ) -> None:
        self._adapter = adapter
        self._conversations = conversations
        self._typing = typing
        self._sessions: dict[UUID, dict[str, Session]] = {}
        self._followed: dict[UUID, Sequence[UUID]] = {}  # the members of the latest event
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(
        self, sid: str, session: Session, conversation_id: UUID, members: Sequence[UUID]
    ) -> None:
        """`members` are those of the conversation, its client first.

        Returns when what other nodes tell the rooms is heard.
        """
        self._sessions.setdefault(conversation_id, {})[sid] = session
        joined = self._meet(sid, session, conversation_id, members)
        self._enter(sid, conversation_room(conversation_id))
        if session.principal.is_privileged:
            self._enter(sid, privileged_room(conversation_id), joined.channel)
        await self._entered(conversation_id, joined)

    def leave(self, sid: str, session: Session, conversation_id: UUID) -> None:
        joined = session.joined.pop(conversation_id)
        self._forget(sid, conversation_id)
        self._leave(sid, conversation_room(conversation_id))
        self._leave(sid, privileged_room(conversation_id))
        self._part(sid, session, joined.peers)
        self._typing.left(session.principal, conversation_id, sid)

    def disconnected(self, sid: str, session: Session) -> None:
        """The socket is gone, and with it out of all rooms."""
        for conversation_id in session.joined:
            self._forget(sid, conversation_id)

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
        await self._look(sid, session, list(session.joined))

    def members_changed(self, payload: Mapping[str, Any]) -> None:
        """A `conversation` event is about to be delivered here: have the sockets follow it.

        The same change comes once for each user who has a socket here: it is looked up once.
        """
        conversation_id = UUID(payload["id"])
        members = [UUID(one["user_id"]) for one in payload["participants"]]
        if conversation_id in self._followed:
            self._followed[conversation_id] = members
        elif self._is_news(conversation_id, members):
            self._followed[conversation_id] = members
            task = asyncio.create_task(self._follow(conversation_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_news(self, conversation_id: UUID, members: Sequence[UUID]) -> bool:
        """Return whether a socket that joined believes in other members than these."""
        for session in self._sessions.get(conversation_id, {}).values():
            joined, user_id = session.joined[conversation_id], session.principal.user_id
            if (user_id in members) is joined.is_visitor or joined.peers != {*members} - {user_id}:
                return True
        return False

    async def _follow(self, conversation_id: UUID) -> None:
        """The event may have been overtaken: the database knows. Without it, it is believed.

        What comes while it is asked may be newer than the answer: then it is asked again.
        """
        try:
            while members := self._followed[conversation_id]:
                self._followed[conversation_id] = []
                with suppress(ChatError):
                    found = await self._conversations.list_members([conversation_id])
                    members = found.get(conversation_id, ())
                for sid, session in list(self._sessions.get(conversation_id, {}).items()):
                    self._settle(sid, session, conversation_id, members)
        finally:
            del self._followed[conversation_id]

    async def _look(self, sid: str, session: Session, conversation_ids: Sequence[UUID]) -> None:
        """Leave those that are no longer the caller's, and hear of who is in the others now."""
        if not conversation_ids:
            return
        found = await self._conversations.list_members(conversation_ids)
        for conversation_id in conversation_ids:
            if conversation_id in session.joined:
                self._settle(sid, session, conversation_id, found.get(conversation_id, ()))

    def _settle(
        self, sid: str, session: Session, conversation_id: UUID, members: Sequence[UUID]
    ) -> None:
        """Have a socket that joined hear of these members, or leave if it is no longer for it."""
        principal = session.principal
        if members and (principal.is_privileged or principal.user_id in members):
            self._meet(sid, session, conversation_id, members)
        else:
            self._lose(sid, session, conversation_id)

    def _lose(self, sid: str, session: Session, conversation_id: UUID) -> None:
        """Leave what is no longer the caller's; a raw websocket, which has no other, ends."""
        self.leave(sid, session, conversation_id)
        client = self._adapter.get_client(sid)
        if isinstance(client, RawClient):
            client.refuse(NotFound())

    def _meet(
        self, sid: str, session: Session, conversation_id: UUID, members: Sequence[UUID]
    ) -> Joined:
        """Hear of the presence of those who are in it now, and no longer of who left."""
        user_id, before = session.principal.user_id, session.joined.get(conversation_id)
        joined = session.joined[conversation_id] = Joined(
            peers=frozenset(members) - {user_id},
            channel=user_room(members[0]),
            is_visitor=user_id not in members,
        )
        for peer_id in joined.peers:
            self._enter(sid, presence_room(peer_id))
        if before is not None:
            self._part(sid, session, before.peers - joined.peers)
        return joined

    def _part(self, sid: str, session: Session, peers: frozenset[UUID]) -> None:
        """No longer hear of the presence of those whom no other joined conversation has."""
        for peer_id in peers.difference(*(one.peers for one in session.joined.values())):
            self._leave(sid, presence_room(peer_id))

    def _forget(self, sid: str, conversation_id: UUID) -> None:
        sessions = self._sessions.get(conversation_id, {})
        sessions.pop(sid, None)
        if not sessions:
            self._sessions.pop(conversation_id, None)

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
