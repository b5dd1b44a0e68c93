"""Viewers: a conversation as each of several people sees it, with who is online."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import Conversation, Filters, Position
from chatserver.repositories.conversation_views import ConversationViews
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService

VISITOR: Final = UUID(int=0)
"""Stands for any viewer who takes no part: all of them see the same."""


class Viewers:
    """Reads views in a transaction of the caller's, and fills in presence after it."""

    def __init__(self, host: HostTables, presence: PresenceService, senders: SenderService) -> None:
        self._views = ConversationViews(host)
        self._presence = presence
        self._senders = senders

    async def read(
        self, connection: AsyncConnection, conversation_id: UUID, viewer_ids: Collection[UUID]
    ) -> dict[UUID, Conversation]:
        """The conversation as each of `viewer_ids` sees it, without who is online."""
        views = await self._views.get_for(connection, viewer_ids, conversation_id)
        filled = await self._senders.fill_in_views(connection, list(views.values()))
        return dict(zip(views, filled, strict=True))

    async def list(
        self,
        connection: AsyncConnection,
        viewer_id: UUID,
        *,
        limit: int,
        filters: Filters,
        skip: int,
        after: Position | None,
    ) -> Sequence[Conversation]:
        """A page of those that the viewer is in, without who is online."""
        found = await self._views.list(
            connection, viewer_id, limit=limit, filters=filters, skip=skip, after=after
        )
        return await self._senders.fill_in_views(connection, found)

    async def introduce(
        self, connection: AsyncConnection, revs: Mapping[UUID, int]
    ) -> dict[UUID, dict[UUID, Conversation]]:
        """See `ConversationViews.introduce`; each has the `rev` that is given for it."""
        found = await self._views.introduce(connection, list(revs))
        return {
            conversation_id: await self.with_presence(
                {
                    user_id: replace(view, rev=revs[conversation_id])
                    for user_id, view in views.items()
                }
            )
            for conversation_id, views in found.items()
        }

    async def with_presence(self, views: Mapping[UUID, Conversation]) -> dict[UUID, Conversation]:
        """The same, with who is online; asks no database."""
        filled = await self._presence.fill_in(list(views.values()))
        return dict(zip(views, filled, strict=True))

    async def fill_in(self, views: Sequence[Conversation]) -> Sequence[Conversation]:
        """Like `with_presence`, for a list."""
        return await self._presence.fill_in(views)
