"""Conversations: opening one about a listing, telling its owner, listing, archiving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from chatserver.backplane.limits import Limits
from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.errors import Forbidden, NotFound, OwnListing, RateLimited, Unauthorized
from chatserver.events import ConversationChanged, Publisher
from chatserver.models import Conversation, Position, Principal, Role
from chatserver.repositories import conversations, openings, users
from chatserver.repositories.conversations import ConversationViews
from chatserver.repositories.openings import Parties, PartyGone
from chatserver.repositories.users import OwnedListing
from chatserver.services.access import access_conversation, note_access
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService

VISITOR: Final = UUID(int=0)
"""Stands for any viewer who takes no part: they all see the same."""


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
        limits: Limits,
    ) -> None:
        """`limits` is for how many each user may open."""
        self._database = database
        self._views = ConversationViews(host)
        self._listing_query = users.listing_query(host)
        self._presence = presence
        self._senders = senders
        self._publisher = publisher
        self._limits = limits
        self._create_query = openings.create_query(host)

    async def open(self, principal: Principal, listing_id: UUID) -> tuple[Conversation, bool]:
        """The caller's conversation about a listing, and whether it is new.

        The caller becomes its client. However many ask at once, there is one for
        each listing, client and owner. The owner hears of one that the host opens at
        once, else with its first message. Raises NotFound for an unknown listing,
        OwnListing for the caller's own, RateLimited for too many new ones, and
        Unauthorized for a caller who no longer exists.
        """
        async with self._database.reads() as connection:
            owned = await users.get_listing(connection, self._listing_query, listing_id)
            if owned is None:
                raise NotFound("There is no such listing.")
            if owned.owner_id == principal.user_id:
                raise OwnListing
            parties = Parties(listing_id, principal.user_id, owned.owner_id)
            found = await openings.find(connection, parties)
        if found is not None:
            return await self.get(principal, found), False
        await self._check_rate(principal)
        return await self._create(principal, owned)

    async def _create(self, principal: Principal, owned: OwnedListing) -> tuple[Conversation, bool]:
        is_told = principal.is_privileged
        try:
            async with self._database.transaction() as connection:
                conversation_id, is_new = await openings.create(
                    connection,
                    self._create_query,
                    uuid7(),
                    listing=owned.listing,
                    client_id=principal.user_id,
                    owner_id=owned.owner_id,
                    shown_empty=is_told,
                )
                viewers = (
                    (principal.user_id, owned.owner_id)
                    if is_new and is_told
                    else (principal.user_id,)
                )
                views = await self._view(connection, conversation_id, viewers)
        except PartyGone as gone:
            if gone.user_id == principal.user_id:
                raise Unauthorized from None
            raise NotFound("There is no such listing.") from None
        views = await self._with_presence(views)
        if is_new:
            self._publisher.publish(ConversationChanged(views))
        return views[principal.user_id], is_new

    async def introduce(
        self, connection: AsyncConnection, conversation_ids: Sequence[UUID]
    ) -> Mapping[UUID, ConversationChanged]:
        """For each of the conversations that its owner was not told of: what tells them.

        It is to be published before the first message, and looks as if it had been when
        the conversation was opened: `rev` counts on from there.
        """
        views = await self._views.introduce(connection, conversation_ids)
        return {
            view.id: ConversationChanged({view.owner_user_id: view})
            for view in await self._presence.fill_in(views)
        }

    async def _check_rate(self, principal: Principal) -> None:
        """The limit is for people: the host's own back end may open as many as it likes."""
        if principal.role is Role.SERVICE:
            return
        retry_after = await self._limits.hit(principal.user_id)
        if retry_after is not None:
            raise RateLimited(
                "Too many new conversations in a short time.", retry_after=retry_after
            )

    async def get(self, principal: Principal, conversation_id: UUID) -> Conversation:
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
            views = await self._view(connection, conversation_id, (principal.user_id,))
        note_access(principal, membership, "get")
        return (await self._with_presence(views))[principal.user_id]

    async def check_access(self, principal: Principal, conversation_id: UUID) -> None:
        """NotFound unless the caller may see the conversation."""
        async with self._database.reads() as connection:
            await access_conversation(connection, principal, conversation_id)

    async def join(self, principal: Principal, conversation_id: UUID) -> tuple[UUID, UUID]:
        """The participants, for a caller who is about to hear what happens there, or NotFound."""
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
        note_access(principal, membership, "join")
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
            viewers = (principal.user_id, VISITOR)
            views = await self._view(connection, conversation_id, viewers)
        if is_changed:
            views = await self._with_presence(views)
            visitors_view = views.pop(VISITOR)
            self._publisher.publish(ConversationChanged(views, visitors_view))

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
