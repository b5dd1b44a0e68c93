"""Members: who is in a conversation, who may add and remove whom, and standing agents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.errors import Forbidden, NotFound, TooManyParticipants, Unavailable
from chatserver.events import ConversationChanged, Publisher, UnreadChanged
from chatserver.models import (
    MAX_MEMBERS,
    Conversation,
    MemberRole,
    Participant,
    Principal,
    Unread,
    User,
)
from chatserver.repositories import conversations, members, nodes, users
from chatserver.repositories.conversations import Change, Membership
from chatserver.services.access import access_conversation, lock_conversation, note_access
from chatserver.services.nodes import INTERVAL as NODES_INTERVAL
from chatserver.services.nodes import MEMBERS
from chatserver.services.viewers import VISITOR, Viewers
from chatserver.settings import MemberSettings

MAX_EVER: Final = 200
"""Of a conversation, those who left included: their cursors are read with it."""

WALK_INTERVAL: Final = 2.0
"""Seconds between two looks at whether standing agents are to be added or removed."""

WALK_BATCH: Final = 100
"""Conversations that one look goes through at a time, each in a transaction of its own."""

_ADDED_BY: Final = {MemberRole.AGENT: MemberRole.OWNER, MemberRole.CO_CLIENT: MemberRole.CLIENT}
"""Roles of people who may add and remove members, and of whom; observers are the host's."""


@dataclass(frozen=True, slots=True)
class _Done:
    """A change that is committed: what is to be published."""

    views: Mapping[UUID, Conversation]
    visitors_view: Conversation
    unread: Unread | None


class MemberService:
    """See the module. Every method raises NotFound for what is not the caller's.

    Who is removed is refused from the commit on, by every node; what is committed later is
    never published to them.
    """

    def __init__(
        self,
        database: Database,
        host: HostTables,
        viewers: Viewers,
        publisher: Publisher,
        settings: MemberSettings,
    ) -> None:
        self._database = database
        self._viewers = viewers
        self._publisher = publisher
        self._settings = settings
        self._user_query = members.user_query(host)
        self._names_query = users.users_query(host)
        self._log = structlog.get_logger(__name__)

    async def list(self, principal: Principal, conversation_id: UUID) -> Sequence[Participant]:
        """List the members, client and owner first."""
        async with self._database.reads() as connection:
            membership = await access_conversation(connection, principal, conversation_id)
            viewer_id = principal.user_id
            views = await self._viewers.read(connection, conversation_id, [viewer_id])
        note_access(principal, membership, "participants")
        return views[viewer_id].participants

    async def put(
        self, principal: Principal, conversation_id: UUID, user_id: UUID, role: MemberRole
    ) -> tuple[Participant, bool]:
        """Add the user, or give a member another role; and whether the user is new in it.

        `role` is co_client, agent or observer. Where the user is that already nothing
        changes. Raises NotFound for an unknown user, Forbidden for a caller who may not, for
        the client and the owner, and for one who is or was on the other side,
        TooManyParticipants, and Unavailable while a node of an older version is alive.
        """
        async with self._database.transaction() as connection:
            before = await lock_conversation(connection, principal, conversation_id)
            _check_may(principal, before, role, by_people=self._settings.by_people)
            present = before.role_of(user_id)
            if present is role:
                done = None
                shown = (await self._viewers.read(connection, conversation_id, [VISITOR]))[VISITOR]
            else:
                await self._check_fits(connection, principal, before, user_id, role)
                done = await self._add(connection, principal.user_id, before, user_id, role)
                shown = done.visitors_view
        note_access(principal, before, "add_participant")
        await self._publish(done)
        found = next(one for one in shown.participants if one.user_id == user_id)
        return found, present is None

    async def remove(self, principal: Principal, conversation_id: UUID, user_id: UUID) -> None:
        """Take the user out, who may do so too; what they wrote stays.

        Raises NotFound for one who is not in it, and Forbidden for a caller who may not, and
        for the client and the owner.
        """
        async with self._database.transaction() as connection:
            before = await lock_conversation(connection, principal, conversation_id)
            role = before.role_of(user_id)
            if role is None:
                raise NotFound("There is no such participant.")
            if role in (MemberRole.CLIENT, MemberRole.OWNER):
                raise Forbidden("The client and the owner stay.")
            if user_id != principal.user_id:
                _check_may(principal, before, role, by_people=self._settings.by_people)
            done = await self._remove(connection, principal.user_id, before, user_id)
        note_access(principal, before, "remove_participant")
        await self._publish(done)

    # Standing agents

    async def list_agents(self, principal: Principal, owner_id: UUID) -> Sequence[User]:
        """The standing agents of an owner, the longest first."""
        _check_owner(principal, owner_id)
        async with self._database.reads() as connection:
            agent_ids = await members.list_standing(connection, owner_id)
            found = await users.get_users(connection, self._names_query, agent_ids)
        return [found.get(each) or User(each, None, None, None) for each in agent_ids]

    async def put_agent(
        self, principal: Principal, owner_id: UUID, agent_id: UUID
    ) -> tuple[User, bool]:
        """Make the user an agent of all the owner's conversations; whether that is new.

        Of each that is opened from now on from its first moment, of those that there are
        within a minute. Raises Forbidden, NotFound for an unknown user, TooManyParticipants,
        and Unavailable while a node of an older version is alive.
        """
        _check_owner(principal, owner_id)
        if agent_id == owner_id:
            raise Forbidden("The owner is no agent.")
        async with self._database.transaction() as connection:
            await _check_promise(connection)
            if not await members.hold_user(connection, self._user_query, agent_id):
                raise NotFound("There is no such user.")
            await members.hold_owner(connection, owner_id)
            standing = await members.list_standing(connection, owner_id)
            if agent_id not in standing and len(standing) >= MAX_MEMBERS - 2:
                raise TooManyParticipants
            is_new = await members.set_standing(connection, owner_id, agent_id)
            found = await users.get_users(connection, self._names_query, [agent_id])
        return found[agent_id], is_new

    async def remove_agent(self, principal: Principal, owner_id: UUID, agent_id: UUID) -> None:
        """End it: in all the owner's conversations the user is no agent within a minute.

        Raises Forbidden, and NotFound for one who is no standing agent of the owner's.
        """
        _check_owner(principal, owner_id)
        async with self._database.transaction() as connection:
            await members.hold_owner(connection, owner_id)
            if not await members.end_standing(connection, owner_id, agent_id):
                raise NotFound("There is no such agent.")

    async def walk(self) -> None:
        """Add and remove standing agents where that is still to be done; on any node.

        To be called every WALK_INTERVAL. Raises Unavailable when the database is away.
        """
        while await self._walk_once():
            pass

    async def _walk_once(self) -> bool:
        """Go through the next conversations of one change; whether there was any."""
        async with self._database.transaction() as connection:
            walk = await members.get_walk(connection, WALK_BATCH)
            if walk is None:
                return False
            for conversation_id in walk.conversation_ids:
                await self._walk_through(conversation_id, walk)
            is_done = len(walk.conversation_ids) < WALK_BATCH
            await members.set_walked(connection, walk, is_done=is_done)
        return True

    async def _walk_through(self, conversation_id: UUID, walk: members.Walk) -> None:
        """In a transaction of its own: no send waits for more than one conversation."""
        agent_id, by_id = walk.agent_id, walk.owner_id
        done = None
        async with self._database.transaction() as connection:
            membership = await conversations.lock(connection, conversation_id)
            role = None if membership is None else membership.role_of(agent_id)
            if membership is None:
                return
            if walk.is_over and role is MemberRole.AGENT:
                done = await self._remove(connection, by_id, membership, agent_id)
            elif not walk.is_over and role is None:
                if not await members.hold_user(connection, self._user_query, agent_id):
                    return
                try:
                    await self._check_room(connection, membership, agent_id, MemberRole.AGENT)
                except (Forbidden, TooManyParticipants) as error:
                    self._log.warning(
                        "standing_agent_not_added",
                        conversation_id=str(conversation_id),
                        user_id=str(agent_id),
                        code=error.code,
                    )
                    return
                done = await self._add(connection, by_id, membership, agent_id, MemberRole.AGENT)
        await self._publish(done)

    # Inside a transaction that has locked the conversation

    async def _check_fits(
        self,
        connection: AsyncConnection,
        principal: Principal,
        membership: Membership,
        user_id: UUID,
        role: MemberRole,
    ) -> None:
        """Check what does not depend on who asks, but for the role that is given up."""
        present = membership.role_of(user_id)
        if present is not None:
            _check_may(principal, membership, present, by_people=self._settings.by_people)
        await _check_promise(connection)
        if not await members.hold_user(connection, self._user_query, user_id):
            raise NotFound("There is no such user.")
        await self._check_room(connection, membership, user_id, role)

    async def _check_room(
        self,
        connection: AsyncConnection,
        membership: Membership,
        user_id: UUID,
        role: MemberRole,
    ) -> None:
        known = await members.get_known(connection, membership.id, user_id)
        if known is not None and known.role in (MemberRole.CLIENT, MemberRole.OWNER):
            raise Forbidden("The client and the owner stay what they are.")
        if known is not None and role.side is not None and known.side not in (None, role.side):
            raise Forbidden("The user is, or was, on the other side.")
        if membership.role_of(user_id) is not None:
            return
        if len(membership.member_ids) >= MAX_MEMBERS:
            raise TooManyParticipants
        if known is None and await members.count_ever(connection, membership.id) >= MAX_EVER:
            raise TooManyParticipants("Too many have been in the conversation.")

    async def _add(
        self,
        connection: AsyncConnection,
        by_id: UUID,
        before: Membership,
        user_id: UUID,
        role: MemberRole,
    ) -> _Done:
        at = await conversations.now(connection)
        after, unread = await members.add(connection, before, user_id, role, at=at)
        await conversations.log_change(
            connection,
            after.id,
            Change.ADDED,
            rev=after.rev,
            at=at,
            by_user_id=by_id,
            user_id=user_id,
            role=role,
        )
        return await self._seen(connection, before, after, user_id, unread)

    async def _remove(
        self, connection: AsyncConnection, by_id: UUID, before: Membership, user_id: UUID
    ) -> _Done:
        at = await conversations.now(connection)
        after, unread = await members.remove(connection, before, user_id, at=at)
        await conversations.log_change(
            connection,
            after.id,
            Change.REMOVED,
            rev=after.rev,
            at=at,
            by_user_id=by_id,
            user_id=user_id,
            role=before.role_of(user_id),
        )
        return await self._seen(connection, before, after, user_id, unread)

    async def _seen(
        self,
        connection: AsyncConnection,
        before: Membership,
        after: Membership,
        user_id: UUID,
        unread: Unread | None,
    ) -> _Done:
        """Read the views of all who know of the conversation, and of the user who left: their
        sockets may have joined it by its id.
        """
        viewers = {*before.audience, *after.audience, VISITOR}
        if user_id not in after.member_ids:
            viewers.add(user_id)
        views = await self._viewers.read(connection, after.id, viewers)
        return _Done(views, views.pop(VISITOR), unread)

    async def _publish(self, done: _Done | None) -> None:
        if done is None:
            return
        views = await self._viewers.with_presence(done.views)
        self._publisher.publish(ConversationChanged(views, done.visitors_view))
        if done.unread is not None:
            self._publisher.publish(UnreadChanged.of(done.unread))


def _check_may(
    principal: Principal, membership: Membership, role: MemberRole, *, by_people: bool
) -> None:
    """Return whether the caller may add one of this role, and remove one."""
    if principal.is_privileged:
        return
    mine = membership.role_of(principal.user_id)
    if not by_people or mine is None or _ADDED_BY.get(role) is not mine:
        raise Forbidden("The caller may not add or remove such a participant.")


def _check_owner(principal: Principal, owner_id: UUID) -> None:
    if not principal.is_privileged and principal.user_id != owner_id:
        raise Forbidden("Only the owner and the host application may do this.")


async def _check_promise(connection: AsyncConnection) -> None:
    """Older nodes know of two people only: they would not tell a third."""
    if MEMBERS not in await nodes.list_promises(connection):
        raise Unavailable(
            "A node of an older version is still running.", retry_after=NODES_INTERVAL
        )
