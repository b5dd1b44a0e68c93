"""Senders who are neither client nor owner: who they are, for those who read what they wrote."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.aio.caches import Cache
from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.models import Conversation, Message, Principal, SenderRole, User, Voice
from chatserver.repositories import users

MAX_KEPT: Final = 10_000


class SenderService:
    """Looks up the host's users, and believes their names for a while.

    Nothing of a name is stored: a user who is erased at the host is an id without names
    in all that they wrote. Clients and owners cost nothing here, who are not looked up.
    """

    def __init__(self, database: Database, host: HostTables, ttl: float) -> None:
        """`ttl`: seconds until a user is looked up again."""
        self._database = database
        self._query = users.users_query(host)
        self._known = Cache[UUID, User](MAX_KEPT, ttl)

    async def voice(self, principal: Principal) -> Voice | None:
        """Return as whom the caller may write without taking part, or None. Raises Unavailable."""
        if not principal.is_privileged:
            return None
        user = self._known.get(principal.user_id)
        if user is None:
            async with self._database.reads() as connection:
                user = (await self._look_up(connection, {principal.user_id}))[principal.user_id]
        return Voice(SenderRole(principal.role.value), user)

    async def fill_in(
        self, connection: AsyncConnection, messages: Sequence[Message]
    ) -> list[Message]:
        """The same messages, each but the client's and the owner's with its `sender`."""
        asked = {message.sender_id for message in messages if message.sender_role.is_named}
        if not asked:
            return list(messages)
        found = {user_id: user for user_id in asked if (user := self._known.get(user_id))}
        if missing := asked - found.keys():
            found |= await self._look_up(connection, missing)
        return [
            replace(message, sender=found[message.sender_id])
            if message.sender_role.is_named
            else message
            for message in messages
        ]

    async def fill_in_views(
        self, connection: AsyncConnection, views: Sequence[Conversation]
    ) -> list[Conversation]:
        """The same conversations, their last messages filled in."""
        last = [view.last_message for view in views if view.last_message is not None]
        filled = {message.id: message for message in await self.fill_in(connection, last)}
        return [
            replace(view, last_message=filled[view.last_message.id])
            if view.last_message is not None and view.last_message.sender_role.is_named
            else view
            for view in views
        ]

    async def _look_up(
        self, connection: AsyncConnection, user_ids: Collection[UUID]
    ) -> dict[UUID, User]:
        """Each of them; one who is gone has no names."""
        found = {user_id: User(user_id, None, None, None) for user_id in user_ids}
        found |= await users.get_users(connection, self._query, user_ids)
        for user_id, user in found.items():
            self._known.put(user_id, user)
        return found
