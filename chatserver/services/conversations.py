"""Conversations: opening one about a listing, telling its owner, listing, archiving, closing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from chatserver.backplane.limits import Limits
from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.errors import (
    Forbidden,
    InvalidPayload,
    NotFound,
    OwnListing,
    RateLimited,
    Unauthorized,
)
from chatserver.events import ConversationChanged, Publisher
from chatserver.models import Conversation, Filters, Position, Principal, Role, Side
from chatserver.repositories import conversations, openings, users
from chatserver.repositories.conversations import Change, Membership
from chatserver.repositories.openings import Parties, PartyGone
from chatserver.repositories.users import OwnedListing
from chatserver.services.access import (
    access_conversation,
    lock_conversation,
    note_access,
    note_visit,
)
from chatserver.services.viewers import VISITOR, Viewers

ALL: Final = Filters()

UNCHANGED: Final = object()
"""Marks what `update` leaves as it is."""


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
        viewers: Viewers,
        publisher: Publisher,
        limits: Limits,
    ) -> None:
        """`limits` is for how many each user may open."""
        self._database = database
        self._viewers = viewers
        self._listing_query = users.listing_query(host)
        self._publisher = publisher
        self._limits = limits
        self._create_query = openings.create_query(host)

    async def open(
        self, principal: Principal, listing_id: UUID, client_user_id: UUID | None = None
    ) -> tuple[Conversation, bool]:
        """A client's conversation about a listing, as the caller sees it, and whether it is new.

        The client is the caller, but for a privileged one, who says who it is. However
        many ask at once, there is one for each listing, client and owner. The owner's side
        hears of one that the host opens at once, else with its first message. Raises
        NotFound for an unknown listing or client, OwnListing for the client's own,
        InvalidPayload for a privileged caller who names no client, Forbidden for another
        who names somebody else, RateLimited for too many new ones, and Unauthorized for a
        caller who no longer exists.
        """
        client_id = _client_of(principal, client_user_id)
        async with self._database.reads() as connection:
            owned = await users.get_listing(connection, self._listing_query, listing_id)
            if owned is None:
                raise NotFound("There is no such listing.")
            if owned.owner_id == client_id:
                raise OwnListing
            parties = Parties(listing_id, client_id, owned.owner_id)
            found = await openings.find(connection, parties)
        if found is not None:
            return await self.get(principal, found), False
        await self._check_rate(principal)
        return await self._create(principal, client_id, owned)

    async def _create(
        self, principal: Principal, client_id: UUID, owned: OwnedListing
    ) -> tuple[Conversation, bool]:
        try:
            async with self._database.transaction() as connection:
                conversation_id, is_new = await openings.create(
                    connection,
                    self._create_query,
                    uuid7(),
                    listing=owned.listing,
                    client_id=client_id,
                    owner_id=owned.owner_id,
                    shown_empty=principal.is_privileged,
                )
                membership = await access_conversation(connection, principal, conversation_id)
                told = membership.audience if is_new else ()
                viewers = {*told, principal.user_id}
                views = await self._viewers.read(connection, conversation_id, viewers)
        except PartyGone as gone:
            if gone.user_id == principal.user_id:
                raise Unauthorized from None
            what = "user" if gone.user_id == client_id else "listing"
            raise NotFound(f"There is no such {what}.") from None
        if is_new:
            note_access(principal, membership, "open")
        views = await self._viewers.with_presence(views)
        if told:
            self._publisher.publish(ConversationChanged({user: views[user] for user in told}))
        return views[principal.user_id], is_new

    async def introduce(
        self, connection: AsyncConnection, revs: Mapping[UUID, int]
    ) -> Mapping[UUID, ConversationChanged]:
        """For each of the conversations that its owner's side was not told of: what tells them.

        It is to be published before the first message, and looks as if it had been when
        the conversation was opened: `rev`, which is given, counts on from there.
        """
        found = await self._viewers.introduce(connection, revs)
        return {each: ConversationChanged(views) for each, views in found.items()}

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
            views = await self._viewers.read(connection, conversation_id, [principal.user_id])
        note_access(principal, membership, "get")
        return (await self._viewers.with_presence(views))[principal.user_id]

    async def check_access(self, principal: Principal, conversation_id: UUID) -> None:
        """NotFound unless the caller may see the conversation."""
        async with self._database.reads() as connection:
            await access_conversation(connection, principal, conversation_id)

    async def list_members(
        self, conversation_ids: Sequence[UUID]
    ) -> Mapping[UUID, tuple[UUID, ...]]:
        """The members of each of the conversations that exist, whoever asks: client first."""
        async with self._database.reads() as connection:
            found = await conversations.list_memberships(connection, conversation_ids)
        return {one.id: one.member_ids for one in found}

    async def join(self, principal: Principal, conversation_id: UUID) -> tuple[UUID, ...]:
        """The members, for a caller who is about to hear what happens there, or NotFound."""
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
        note_access(principal, membership, "join")
        return membership.member_ids

    async def list(
        self,
        principal: Principal,
        *,
        limit: int,
        filters: Filters = ALL,
        skip: int = 0,
        after: Position | None = None,
        user_id: UUID | None = None,
    ) -> Page:
        """The caller's own conversations, latest activity first.

        `after` is the `next` of the page before. A privileged caller may ask for those of
        `user_id`, as that user sees them; for others that is Forbidden.
        """
        viewer_id = principal.user_id if user_id is None else user_id
        if viewer_id != principal.user_id and not principal.is_privileged:
            raise Forbidden("Only the host application may list another user's conversations.")
        async with self._database.reads() as connection:
            found = await self._viewers.list(
                connection, viewer_id, limit=limit + 1, filters=filters, skip=skip, after=after
            )
        page = found[:limit]
        if viewer_id != principal.user_id:
            for conversation in page:
                note_visit(principal, conversation.id, "list")
        following = None
        if len(found) > limit:
            last = page[-1]
            following = Position(last.last_message_at or last.created_at, last.id)
        return Page(await self._viewers.fill_in(page), following)

    async def archive(
        self, principal: Principal, conversation_id: UUID, *, archived: bool = True
    ) -> None:
        """Put the conversation away, or bring it back, for the caller's side alone.

        A new message brings it back too. Raises Forbidden for a caller who is on neither.
        """
        async with self._database.transaction() as connection:
            membership = await lock_conversation(connection, principal, conversation_id)
            side = membership.side_of(principal.user_id)
            if side is None:
                raise Forbidden("The caller takes no part in the conversation.")
            is_changed = await conversations.set_archived(
                connection, conversation_id, side=side, archived=archived
            )
            told = [user for user in membership.audience if membership.side_of(user) is side]
            views = await self._viewers.read(connection, conversation_id, {*told, VISITOR})
        if is_changed:
            views = await self._viewers.with_presence(views)
            visitors_view = views.pop(VISITOR)
            self._publisher.publish(ConversationChanged(views, visitors_view))

    async def update(
        self,
        principal: Principal,
        conversation_id: UUID,
        *,
        is_active: bool | None = None,
        assigned_user_id: UUID | object | None = UNCHANGED,
    ) -> Conversation:
        """Close the conversation or open it again, and say who of the owner's side answers in it.

        Each change counts in `rev` and is told to the members in an event of its own. Raises
        Forbidden for a caller who is neither of the owner's side nor privileged, and
        InvalidPayload where who is to answer is not of the owner's side.
        """
        async with self._database.transaction() as connection:
            before = await lock_conversation(connection, principal, conversation_id)
            if not principal.is_privileged and before.side_of(principal.user_id) is not Side.OWNER:
                raise Forbidden("Only the owner's side may do this.")
            after = before
            if is_active is not None and is_active is not before.is_active:
                after = await self._set_active(connection, principal, after, is_active)
            if assigned_user_id not in (UNCHANGED, before.assigned_user_id):
                assert assigned_user_id is None or isinstance(assigned_user_id, UUID)
                after = await self._assign(connection, principal, after, assigned_user_id)
            viewers = {*after.audience, principal.user_id, VISITOR}
            views = await self._viewers.read(connection, conversation_id, viewers)
        note_access(principal, after, "update")
        views = await self._viewers.with_presence(views)
        for rev in range(before.rev + 1, after.rev + 1):
            seen = {user: replace(view, rev=rev) for user, view in views.items()}
            told = {user: seen[user] for user in after.audience}
            self._publisher.publish(ConversationChanged(told, seen[VISITOR]))
        return views[principal.user_id]

    async def _set_active(
        self,
        connection: AsyncConnection,
        principal: Principal,
        membership: Membership,
        is_active: bool,
    ) -> Membership:
        rev, at = membership.rev + 1, await conversations.now(connection)
        await conversations.set_active(
            connection, membership.id, is_active=is_active, rev=rev, at=at
        )
        kind = Change.REOPENED if is_active else Change.CLOSED
        await conversations.log_change(
            connection, membership.id, kind, rev=rev, at=at, by_user_id=principal.user_id
        )
        return replace(membership, is_active=is_active, rev=rev)

    async def _assign(
        self,
        connection: AsyncConnection,
        principal: Principal,
        membership: Membership,
        user_id: UUID | None,
    ) -> Membership:
        if user_id is not None and membership.side_of(user_id) is not Side.OWNER:
            raise InvalidPayload(fields={"assigned_user_id": ["Not of the owner's side."]})
        rev, at = membership.rev + 1, await conversations.now(connection)
        await conversations.assign(connection, membership.id, user_id, rev=rev, at=at)
        await conversations.log_change(
            connection,
            membership.id,
            Change.ASSIGNED,
            rev=rev,
            at=at,
            by_user_id=principal.user_id,
            user_id=user_id,
        )
        return replace(membership, assigned_user_id=user_id, rev=rev)


def _client_of(principal: Principal, client_user_id: UUID | None) -> UUID:
    """Whose conversation the caller opens."""
    if principal.is_privileged:
        if client_user_id is None:
            raise InvalidPayload(fields={"client_user_id": ["Required of the host application."]})
        return client_user_id
    if client_user_id not in (None, principal.user_id):
        raise Forbidden("Only the host application may open a conversation for somebody else.")
    return principal.user_id
