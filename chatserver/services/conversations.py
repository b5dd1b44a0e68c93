"""Conversations: opening one about a listing, listing, archiving."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.errors import Forbidden, NotFound, OwnListing
from chatserver.events import ConversationChanged, Publisher
from chatserver.models import Conversation, Position, Principal
from chatserver.repositories import conversations, users
from chatserver.repositories.conversations import ConversationViews
from chatserver.services.access import access_conversation
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService


@dataclass(frozen=True, slots=True)
class Page:
    """A page of conversations; `next` is where the following one begins, if there is one."""

    conversations: Sequence[Conversation]
    next: Position | None


class ConversationService:
    """See the module. Every method raises NotFound for what is not the caller's."""

    def __init__(
        self,
        database: Database,
        host: HostTables,
        presence: PresenceService,
        senders: SenderService,
        publisher: Publisher,
    ) -> None:
        self._database = database
        self._views = ConversationViews(host)
        self._listing_query = users.listing_query(host)
        self._presence = presence
        self._senders = senders
        self._publisher = publisher

    async def open(self, principal: Principal, listing_id: UUID) -> tuple[Conversation, bool]:
        """The caller's conversation about a listing, and whether it is new.

        The caller becomes its client. However many ask at once, there is one for
        each listing, client and owner. Raises NotFound for an unknown listing and
        OwnListing for the caller's own.
        """
        async with self._database.transaction() as connection:
            owned = await users.get_listing(connection, self._listing_query, listing_id)
            if owned is None:
                raise NotFound("There is no such listing.")
            if owned.owner_id == principal.user_id:
                raise OwnListing
            conversation_id, is_new = await conversations.create(
                connection,
                uuid7(),
                listing=owned.listing,
                client_id=principal.user_id,
                owner_id=owned.owner_id,
            )
            participants = (principal.user_id, owned.owner_id) if is_new else (principal.user_id,)
            views = await self._view(connection, conversation_id, participants)
        views = await self._with_presence(views)
        if is_new:
            self._publisher.publish(ConversationChanged(views))
        return views[principal.user_id], is_new

    async def get(self, principal: Principal, conversation_id: UUID) -> Conversation:
        async with self._database.reads() as connection:
            await access_conversation(connection, principal, conversation_id)
            views = await self._view(connection, conversation_id, (principal.user_id,))
        return (await self._with_presence(views))[principal.user_id]

    async def check_access(self, principal: Principal, conversation_id: UUID) -> tuple[UUID, UUID]:
        """The participants; NotFound unless the caller may see the conversation."""
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
        return membership.participants

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        skip: int = 0,
        archived: bool = False,
        after: Position | None = None,
    ) -> Page:
        """The caller's own conversations, latest activity first.

        Those that the caller has archived are in it only with `archived`. `after` is
        the `next` of the page before.
        """
        async with self._database.reads() as connection:
            found = await self._views.list(
                connection,
                principal.user_id,
                limit=limit + 1,
                skip=skip,
                archived=archived,
                after=after,
            )
            found = await self._senders.fill_in_views(connection, found)
        page = found[:limit]
        following = None
        if len(found) > limit:
            last = page[-1]
            following = Position(last.last_message_at or last.created_at, last.id)
        return Page(await self._presence.fill_in(page), following)

    async def archive(
        self, principal: Principal, conversation_id: UUID, *, archived: bool = True
    ) -> None:
        """Put the conversation away, or bring it back, for the caller's side alone.

        A new message brings it back too. Raises Forbidden for a privileged caller
        who takes no part.
        """
        async with self._database.transaction() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
            if principal.user_id not in membership.participants:
                raise Forbidden("The caller takes no part in the conversation.")
            is_changed = await conversations.set_archived(
                connection,
                conversation_id,
                is_client=principal.user_id == membership.client_user_id,
                archived=archived,
            )
            views = await self._view(connection, conversation_id, (principal.user_id,))
        if is_changed:
            self._publisher.publish(ConversationChanged(await self._with_presence(views)))

    async def _view(
        self, connection: AsyncConnection, conversation_id: UUID, viewers: Sequence[UUID]
    ) -> dict[UUID, Conversation]:
        views = [
            (await self._views.get(connection, viewer, [conversation_id]))[0] for viewer in viewers
        ]
        filled = await self._senders.fill_in_views(connection, views)
        return dict(zip(viewers, filled, strict=True))

    async def _with_presence(self, views: dict[UUID, Conversation]) -> dict[UUID, Conversation]:
        filled = await self._presence.fill_in(list(views.values()))
        return dict(zip(views, filled, strict=True))
