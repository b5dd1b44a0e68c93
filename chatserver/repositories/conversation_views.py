"""Conversations with all that a viewer is shown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import (
    Conversation,
    Filters,
    Listing,
    MemberRole,
    Message,
    Participant,
    PeerPresence,
    Position,
    Side,
    User,
)
from chatserver.repositories.messages import list_last_messages


@dataclass(frozen=True, slots=True)
class _Person:
    """A row of `participants` with the names of the user; also of those who left."""

    user_id: UUID
    role: str
    former_side: str | None
    delivered_seq: int
    read_seq: int
    joined_seq: int
    joined_at: datetime
    has_left: bool
    unread_count: int
    last_seen_at: datetime | None
    first_name: str | None
    last_name: str | None
    profile_picture_url: str | None

    @property
    def side(self) -> Side | None:
        """The side that their cursors are of: an observer's may be that of before."""
        side = MemberRole(self.role).side
        return side or (Side(self.former_side) if self.former_side else None)

    @property
    def user(self) -> User:
        return User(self.user_id, self.first_name, self.last_name, self.profile_picture_url)


_ACTIVE_AT = "coalesce(c.last_message_at, c.created_at)"

_OWN = """
    p.left_at IS NULL
    AND (p.role IN ('client', 'co_client') OR c.last_seq > 0 OR c.shown_empty)
    {conditions}
"""

# Day by day along the index, from the newest on, until there are enough: written so that it
# does not depend on what the planner takes the number of a user's conversations to be, which
# is wrong in a plan for all users and in a database without statistics.
_BY_DAY = f"""
    WITH RECURSIVE days (day, ids, found) AS (
        SELECT (
            SELECT active_on FROM chat.participants
            WHERE user_id = :viewer_id {{first}}
            ORDER BY active_on DESC LIMIT 1
        ), CAST('{{}}' AS uuid[]), CAST(0 AS bigint)
        UNION ALL
        SELECT before.day, here.ids, days.found + cardinality(here.ids)
        FROM days
        CROSS JOIN LATERAL (
            SELECT ARRAY(
                SELECT c.id
                FROM chat.participants p
                JOIN chat.conversations c ON c.id = p.conversation_id
                WHERE p.user_id = :viewer_id AND p.active_on = days.day AND {_OWN}
                ORDER BY {_ACTIVE_AT} DESC, c.id DESC
                LIMIT CAST(:limit AS bigint) + CAST(:skip AS bigint)
            ) AS ids OFFSET 0
        ) AS here
        CROSS JOIN LATERAL (
            SELECT (
                SELECT active_on FROM chat.participants
                WHERE user_id = :viewer_id AND active_on < days.day
                ORDER BY active_on DESC LIMIT 1
            ) AS day OFFSET 0
        ) AS before
        WHERE days.day IS NOT NULL AND days.found < CAST(:limit AS bigint) + CAST(:skip AS bigint)
    ), chosen AS (
        SELECT c.*, {_ACTIVE_AT} AS active_at
        FROM days CROSS JOIN unnest(days.ids) AS listed (id)
        CROSS JOIN LATERAL (SELECT * FROM chat.conversations WHERE id = listed.id OFFSET 0) AS c
        ORDER BY active_at DESC, c.id DESC
        LIMIT CAST(:limit AS bigint) OFFSET CAST(:skip AS bigint)
    )
"""

# A listing has few conversations, whoever the viewer is: they are found by its index.
_BY_LISTING = f"""
    WITH chosen AS (
        SELECT c.*, {_ACTIVE_AT} AS active_at
        FROM chat.conversations c
        JOIN chat.participants p
            ON p.conversation_id = c.id AND p.user_id IS NOT DISTINCT FROM :viewer_id
        WHERE c.listing_id = :listing_id AND {_OWN}
        ORDER BY active_at DESC, c.id DESC
        LIMIT CAST(:limit AS bigint) OFFSET CAST(:skip AS bigint)
    )
"""

_UNARCHIVED = """
    NOT CASE WHEN p.role IN ('client', 'co_client') THEN c.archived_by_client
             WHEN p.role IN ('owner', 'agent') THEN c.archived_by_owner
             ELSE false END
"""


def _page(filters: Filters, after: Position | None) -> tuple[str, dict[str, Any]]:
    """The statement that chooses a page, with no condition that is not asked for; its values."""
    conditions: list[str] = []
    values: dict[str, Any] = {}
    first = "AND active_on IS NOT NULL"
    if not filters.archived:
        conditions.append(_UNARCHIVED)
    if filters.listing_id is not None:
        values["listing_id"] = filters.listing_id
    if filters.assigned_to is not None:
        conditions.append("c.assigned_user_id = :assigned_to")
        values["assigned_to"] = filters.assigned_to
    if filters.is_unassigned:
        conditions.append("c.assigned_user_id IS NULL")
    if filters.is_unread is not None:
        conditions.append(f"p.unread_count {'>' if filters.is_unread else '='} 0")
    if filters.is_active is not None:
        conditions.append("c.is_active" if filters.is_active else "NOT c.is_active")
    if after is not None:
        conditions.append(f"({_ACTIVE_AT}, c.id) < (:active_at, CAST(:last_id AS uuid))")
        first = "AND active_on <= (CAST(:active_at AS timestamptz) AT TIME ZONE 'UTC')::date"
        values |= {"active_at": after.active_at, "last_id": after.id}
    kind = _BY_DAY if filters.listing_id is None else _BY_LISTING
    wanted = "".join(f" AND {each}" for each in conditions)
    return kind.replace("{first}", first).replace("{conditions}", wanted), values


class ConversationViews:
    """Reads conversations for viewers.

    The statements depend on the columns of the host's tables, so they are built once.
    Presence is known to the nodes, not to the database: `peer_presence` says only
    when the peers were last seen, and the service fills in the rest.
    """

    def __init__(self, host: HostTables) -> None:
        view = f"""
            SELECT
                c.*, {host.select("listings", "l", "live")},
                ARRAY(
                    SELECT person FROM (
                        SELECT p.user_id, p.role, p.former_side, p.delivered_seq, p.read_seq,
                               p.joined_seq, p.joined_at, p.left_at IS NOT NULL AS has_left,
                               p.unread_count, seen.last_seen_at,
                               {host.select("users", "u", "live")}
                        FROM chat.participants p
                        LEFT JOIN chat.user_presence seen ON seen.user_id = p.user_id
                        LEFT JOIN core.users u ON u.id = p.user_id
                        WHERE p.conversation_id = c.id
                    ) AS person
                ) AS people
            FROM chosen c
            LEFT JOIN core.listings l ON l.id = c.listing_id
        """
        self._get = text(f"""
            WITH chosen AS (SELECT * FROM chat.conversations WHERE id = ANY (:ids))
            {view}
        """)
        self._view = view
        self._lists: dict[str, Any] = {}

    async def get(
        self, connection: AsyncConnection, viewer_id: UUID, conversation_ids: Sequence[UUID]
    ) -> list[Conversation]:
        """Return those of `conversation_ids` that exist, in no order, whoever the viewer is."""
        rows = (await connection.execute(self._get, {"ids": list(conversation_ids)})).all()
        last = await _last_messages(connection, rows)
        return [_conversation(row, viewer_id, last.get(row.id)) for row in rows]

    async def get_for(
        self, connection: AsyncConnection, viewer_ids: Iterable[UUID], conversation_id: UUID
    ) -> dict[UUID, Conversation]:
        """The conversation, if it exists, as each of the viewers sees it."""
        rows = (await connection.execute(self._get, {"ids": [conversation_id]})).all()
        last = await _last_messages(connection, rows)
        return {
            viewer_id: _conversation(row, viewer_id, last.get(row.id))
            for row in rows
            for viewer_id in viewer_ids
        }

    async def introduce(
        self, connection: AsyncConnection, conversation_ids: Sequence[UUID]
    ) -> dict[UUID, dict[UUID, Conversation]]:
        """By conversation and viewer: as those who were not told of it, who are all but the
        client's side, saw it before the first message, had they been shown.
        """
        rows = (await connection.execute(self._get, {"ids": [*conversation_ids]})).all()
        return {
            row.id: {
                person.user_id: _untouched(row, person.user_id)
                for person in _people(row)
                if not person.has_left and MemberRole(person.role).side is not Side.CLIENT
            }
            for row in rows
            if not row.shown_empty
        }

    async def list(
        self,
        connection: AsyncConnection,
        viewer_id: UUID,
        *,
        limit: int,
        filters: Filters,
        skip: int = 0,
        after: Position | None = None,
    ) -> "list[Conversation]":
        """A page of the viewer's own, latest activity first."""
        chosen, values = _page(filters, after)
        if (query := self._lists.get(chosen)) is None:
            query = text(f"{chosen} {self._view} ORDER BY c.active_at DESC, c.id DESC")
            self._lists[chosen] = query
        values |= {"viewer_id": viewer_id, "limit": limit, "skip": skip}
        result = await connection.execute(query, values)
        rows = result.all()
        last = await _last_messages(connection, rows)
        return [_conversation(row, viewer_id, last.get(row.id)) for row in rows]


async def _last_messages(
    connection: AsyncConnection, rows: Sequence[Row[Any]]
) -> dict[UUID, Message]:
    heads = [(row.id, row.last_seq, row.last_message_at) for row in rows if row.last_seq]
    return await list_last_messages(connection, heads) if heads else {}


def _people(row: Row[Any]) -> list[_Person]:
    """In the order of the members; those who left behind them."""
    places = {user_id: place for place, user_id in enumerate(row.member_ids)}
    people = [_Person(*person) for person in row.people]
    return sorted(people, key=lambda person: places.get(person.user_id, len(places)))


_NOBODY: Final = (None, None, None)


def _conversation(row: Row[Any], viewer_id: UUID, last_message: Message | None) -> Conversation:
    people = _people(row)
    members = [person for person in people if not person.has_left]
    viewer = next((person for person in members if person.user_id == viewer_id), None)
    side = None if viewer is None else MemberRole(viewer.role).side
    peers = [] if side is None else [p for p in people if p.side not in (None, side)]
    users = {person.user_id: person.user for person in people}
    return Conversation(
        id=row.id,
        listing_id=row.listing_id,
        client_user_id=row.client_user_id,
        owner_user_id=row.owner_user_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_message_at=row.last_message_at,
        is_active=row.is_active,
        archived_by_client=row.archived_by_client,
        archived_by_owner=row.archived_by_owner,
        last_seq=row.last_seq,
        rev=row.rev,
        unread_count=0 if viewer is None else viewer.unread_count,
        read_seq=0 if viewer is None else viewer.read_seq,
        peer_read_seq=max((peer.read_seq for peer in peers), default=0),
        peer_delivered_seq=max((peer.delivered_seq for peer in peers), default=0),
        listing=_listing(row),
        client=users.get(row.client_user_id) or User(row.client_user_id, *_NOBODY),
        owner=users.get(row.owner_user_id) or User(row.owner_user_id, *_NOBODY),
        participants=[_participant(person) for person in members],
        assigned_user_id=row.assigned_user_id,
        last_message=last_message,
        peer_presence=None if side is None else _presence(peers),
    )


def _participant(person: _Person) -> Participant:
    return Participant(
        user_id=person.user_id,
        role=MemberRole(person.role),
        first_name=person.first_name,
        last_name=person.last_name,
        profile_picture_url=person.profile_picture_url,
        delivered_seq=person.delivered_seq,
        read_seq=person.read_seq,
        joined_seq=person.joined_seq,
        joined_at=person.joined_at,
    )


def _presence(peers: Sequence[_Person]) -> PeerPresence:
    """Of those who are on the other side now."""
    present = [peer for peer in peers if not peer.has_left and MemberRole(peer.role).side]
    seen = (peer.last_seen_at for peer in present if peer.last_seen_at is not None)
    return PeerPresence(
        user_ids=tuple(peer.user_id for peer in present),
        is_online=False,
        last_seen_at=max(seen, default=None),
    )


def _untouched(row: Row[Any], viewer_id: UUID) -> Conversation:
    seen = _conversation(row, viewer_id, None)
    return replace(
        seen,
        updated_at=row.created_at,
        last_message_at=None,
        last_seq=0,
        rev=0,
        unread_count=0,
        read_seq=0,
        peer_read_seq=0,
        peer_delivered_seq=0,
        participants=[replace(one, delivered_seq=0, read_seq=0) for one in seen.participants],
    )


def _listing(row: Row[Any]) -> Listing:
    """The host's listing as it is now; what the snapshot says where that has nothing."""
    title = row.live_title if row.live_title is not None else row.listing_title
    price = row.live_price if row.live_price is not None else row.listing_price
    currency = row.live_currency if row.live_currency is not None else row.listing_currency
    return Listing(id=row.listing_id, title=title, price=price, currency=currency)
