"""Conversations: reading as one viewer sees them, locking, archiving. Opening: see `openings`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import Conversation, Listing, Message, Position, Presence, User
from chatserver.repositories.messages import list_last_messages


@dataclass(frozen=True, slots=True)
class Membership:
    """What decides who may do what in a conversation, and where its messages lie."""

    id: UUID
    client_user_id: UUID
    owner_user_id: UUID
    created_at: datetime
    last_message_at: datetime | None
    is_active: bool
    last_seq: int
    rev: int
    shown_empty: bool

    @property
    def participants(self) -> tuple[UUID, UUID]:
        return self.client_user_id, self.owner_user_id

    @property
    def audience(self) -> tuple[UUID, ...]:
        """Those of the participants who have been told that there is the conversation."""
        is_shown = self.shown_empty or self.last_seq > 0
        return self.participants if is_shown else (self.client_user_id,)

    @property
    def lifetime(self) -> tuple[datetime, datetime]:
        """Between which times its messages were created."""
        return self.created_at, self.last_message_at or self.created_at


_MEMBERSHIP = """
    SELECT id, client_user_id, owner_user_id, created_at, last_message_at, is_active,
           last_seq, rev, shown_empty
    FROM chat.conversations
    WHERE id = :id
"""
_GET_MEMBERSHIP = text(_MEMBERSHIP)
_LOCK = text(_MEMBERSHIP + "FOR NO KEY UPDATE")


async def get_membership(connection: AsyncConnection, conversation_id: UUID) -> Membership | None:
    row = (await connection.execute(_GET_MEMBERSHIP, {"id": conversation_id})).one_or_none()
    return None if row is None else Membership(*row)


_LIST_MEMBERSHIPS = text(_MEMBERSHIP.replace("id = :id", "id = ANY (:ids)"))


async def list_memberships(
    connection: AsyncConnection, conversation_ids: Sequence[UUID]
) -> list[Membership]:
    """Those of the conversations that exist, in no order."""
    rows = await connection.execute(_LIST_MEMBERSHIPS, {"ids": list(conversation_ids)})
    return [Membership(*row) for row in rows]


async def lock(connection: AsyncConnection, conversation_id: UUID) -> Membership | None:
    """Lock the conversation until the end of the transaction: its numbers stand still."""
    row = (await connection.execute(_LOCK, {"id": conversation_id})).one_or_none()
    return None if row is None else Membership(*row)


_TOUCH = text("""
    UPDATE chat.conversations
    SET rev = :rev, updated_at = :at, changed_xid = pg_current_xact_id()
    WHERE id = :id
""")


async def touch(
    connection: AsyncConnection, conversation_id: UUID, *, rev: int, at: datetime
) -> None:
    """Note a change of the conversation, which the caller has locked."""
    await connection.execute(_TOUCH, {"id": conversation_id, "rev": rev, "at": at})


_CLOCK = text("SELECT clock_timestamp()")


async def now(connection: AsyncConnection) -> datetime:
    """The database's clock: the only one that all nodes share."""
    return (await connection.execute(_CLOCK)).scalar_one()  # type: ignore[no-any-return]


_SET_ARCHIVED = {
    side: text(f"""
        UPDATE chat.conversations
        SET archived_by_{side} = :archived, updated_at = clock_timestamp(),
            changed_xid = pg_current_xact_id()
        WHERE id = :id AND archived_by_{side} <> :archived
    """)
    for side in ("client", "owner")
}


async def set_archived(
    connection: AsyncConnection, conversation_id: UUID, *, is_client: bool, archived: bool
) -> bool:
    """Archive it, or bring it back, for one side; whether that changed anything."""
    result = await connection.execute(
        _SET_ARCHIVED["client" if is_client else "owner"],
        {"id": conversation_id, "archived": archived},
    )
    return result.rowcount > 0


_SHARES = text("""
    SELECT EXISTS (
        SELECT FROM chat.participants mine
        JOIN chat.participants theirs USING (conversation_id)
        JOIN chat.conversations c ON c.id = mine.conversation_id
        WHERE mine.user_id = :user_id AND theirs.user_id = :other_id
          AND (c.client_user_id = :user_id OR c.last_seq > 0 OR c.shown_empty)
    )
""")


async def is_shared(connection: AsyncConnection, user_id: UUID, other_id: UUID) -> bool:
    """Whether two users take part in a conversation together (or are the same).

    In one without a word, only its client does as far as its owner was told.
    """
    values = {"user_id": user_id, "other_id": other_id}
    return bool((await connection.execute(_SHARES, values)).scalar_one())


class ConversationViews:
    """Conversations with all that one viewer is shown.

    The statements depend on the columns of the host's tables, so they are built once.
    Presence is known to the nodes, not to the database: `peer_presence` says only
    when the peer was last seen, and the service fills in the rest.
    """

    def __init__(self, host: HostTables) -> None:
        view = f"""
            SELECT
                c.*, mine.user_id AS viewer_id, mine.unread_count, mine.read_seq,
                peer.user_id AS peer_id, peer.read_seq AS peer_read_seq,
                peer.delivered_seq AS peer_delivered_seq, seen.last_seen_at,
                {host.select("listings", "l", "live")},
                {host.select("users", "client", "client")},
                {host.select("users", "owner", "owner")}
            FROM chosen c
            LEFT JOIN chat.participants mine
                -- With `=`, a plan for any viewer goes through all of theirs for each row.
                ON mine.conversation_id = c.id AND mine.user_id IS NOT DISTINCT FROM :viewer_id
            LEFT JOIN chat.participants peer
                ON peer.conversation_id = c.id AND peer.user_id <> mine.user_id
            LEFT JOIN chat.user_presence seen ON seen.user_id = peer.user_id
            LEFT JOIN core.listings l ON l.id = c.listing_id
            LEFT JOIN core.users client ON client.id = c.client_user_id
            LEFT JOIN core.users owner ON owner.id = c.owner_user_id
        """
        self._get = text(f"""
            WITH chosen AS (SELECT *, created_at AS active_at
                            FROM chat.conversations WHERE id = ANY (:ids))
            {view}
        """)
        self._introduce = text(f"""
            WITH chosen AS (SELECT *, created_at AS active_at
                            FROM chat.conversations WHERE id = ANY (:ids) AND NOT shown_empty)
            {view.replace(":viewer_id", "c.owner_user_id")}
        """)
        self._list = text(f"""
            WITH page AS (
                SELECT id, coalesce(last_message_at, created_at) AS active_at
                FROM chat.conversations
                WHERE (client_user_id = :viewer_id
                       OR owner_user_id = :viewer_id AND (last_seq > 0 OR shown_empty))
                  AND (:archived OR NOT CASE client_user_id WHEN :viewer_id
                                        THEN archived_by_client ELSE archived_by_owner END)
                  AND (CAST(:active_at AS timestamptz) IS NULL
                       OR (coalesce(last_message_at, created_at), id)
                          < (:active_at, CAST(:last_id AS uuid)))
                ORDER BY active_at DESC, id DESC
                LIMIT :limit OFFSET :skip
            ), chosen AS (
                SELECT c.*, page.active_at FROM page JOIN chat.conversations c USING (id)
            )
            {view}
            ORDER BY c.active_at DESC, c.id DESC
        """)

    async def get(
        self, connection: AsyncConnection, viewer_id: UUID, conversation_ids: Sequence[UUID]
    ) -> list[Conversation]:
        """Those of `conversation_ids` that exist, in no order, whoever the viewer is."""
        result = await connection.execute(
            self._get, {"viewer_id": viewer_id, "ids": list(conversation_ids)}
        )
        return await _with_last_messages(connection, result.all())

    async def introduce(
        self, connection: AsyncConnection, conversation_ids: Sequence[UUID]
    ) -> "list[Conversation]":
        """As their owners saw them before the first message, had they been shown.

        Only of those that were not.
        """
        result = await connection.execute(self._introduce, {"ids": [*conversation_ids]})
        return [
            replace(
                _conversation(row, None),
                updated_at=row.created_at,
                last_message_at=None,
                last_seq=0,
                rev=0,
                unread_count=0,
                read_seq=0,
                peer_read_seq=0,
                peer_delivered_seq=0,
            )
            for row in result
        ]

    async def list(
        self,
        connection: AsyncConnection,
        viewer_id: UUID,
        *,
        limit: int,
        skip: int = 0,
        archived: bool = False,
        after: Position | None = None,
    ) -> list[Conversation]:
        """A page of the viewer's own, latest activity first; with archived ones if told."""
        result = await connection.execute(
            self._list,
            {
                "viewer_id": viewer_id,
                "limit": limit,
                "skip": skip,
                "archived": archived,
                "active_at": after and after.active_at,
                "last_id": after and after.id,
            },
        )
        return await _with_last_messages(connection, result.all())


async def _with_last_messages(
    connection: AsyncConnection, rows: Sequence[Row[Any]]
) -> list[Conversation]:
    heads = [(row.id, row.last_seq, row.last_message_at) for row in rows if row.last_seq]
    last = await list_last_messages(connection, heads) if heads else {}
    return [_conversation(row, last.get(row.id)) for row in rows]


def _conversation(row: Row[Any], last_message: Message | None) -> Conversation:
    is_participant = row.peer_id is not None
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
        unread_count=row.unread_count or 0,
        read_seq=row.read_seq or 0,
        peer_read_seq=row.peer_read_seq or 0,
        peer_delivered_seq=row.peer_delivered_seq or 0,
        listing=_listing(row),
        client=_user(row, "client"),
        owner=_user(row, "owner"),
        last_message=last_message,
        peer_presence=Presence(row.peer_id, False, row.last_seen_at) if is_participant else None,
    )


def _listing(row: Row[Any]) -> Listing:
    """The host's listing as it is now; what the snapshot says where that has nothing."""
    title = row.live_title if row.live_title is not None else row.listing_title
    price = row.live_price if row.live_price is not None else row.listing_price
    currency = row.live_currency if row.live_currency is not None else row.listing_currency
    return Listing(id=row.listing_id, title=title, price=price, currency=currency)


def _user(row: Row[Any], prefix: str) -> User:
    values = row._mapping
    return User(
        id=values[f"{prefix}_user_id"],
        first_name=values[f"{prefix}_first_name"],
        last_name=values[f"{prefix}_last_name"],
        profile_picture_url=values[f"{prefix}_profile_picture_url"],
    )
