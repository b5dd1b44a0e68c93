"""Opening conversations: one for each listing and pair, of people who exist."""

from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.host import HostTables
from chatserver.models import MAX_MEMBERS, Listing

_FIND = text("""
    SELECT id FROM chat.conversations
    WHERE listing_id = :listing_id AND client_user_id = :client_id AND owner_user_id = :owner_id
""")


@dataclass(frozen=True, slots=True)
class Parties:
    """Parties of a conversation: there is one for each listing, client and owner."""

    listing_id: UUID | None
    client_id: UUID
    owner_id: UUID


async def find(connection: AsyncConnection, parties: Parties) -> UUID | None:
    """The id of their conversation, if there is one."""
    result = await connection.execute(_FIND, asdict(parties))
    return result.scalar_one_or_none()


# In order: of two users who write to each other for the first time at once, neither
# waits for the row that the other's transaction is making.
_JOIN = text("""
    WITH people AS MATERIALIZED (
        SELECT user_id, place,
               CASE place WHEN 1 THEN 'client' WHEN 2 THEN 'owner' ELSE 'agent' END AS role
        FROM unnest(CAST(:member_ids AS uuid[])) WITH ORDINALITY AS m (user_id, place)
    ), joined AS (
        INSERT INTO chat.participants (conversation_id, user_id, role)
        SELECT :id, user_id, role FROM people
    )
    INSERT INTO chat.unread_totals (user_id)
    SELECT user_id FROM people ORDER BY user_id
    ON CONFLICT DO NOTHING
""")

# Whoever makes or ends a standing agent of the owner's waits for this, or this for them.
_HOLD_AGENTS = text("""
    SELECT pg_advisory_xact_lock_shared(hashtextextended('standing ' || :owner_id, 0))
""")

MAX_AGENTS: Final = MAX_MEMBERS - 2


def create_query(host: HostTables) -> Any:
    """The statement for `create`; it depends on what the server may do with the host's table.

    The users' rows are locked as a foreign key would: who is being deleted is waited for,
    and then is not there.
    """
    return text(f"""
        WITH people AS MATERIALIZED (
            SELECT id FROM core.users WHERE id IN (:client_id, :owner_id)
            ORDER BY id {"FOR KEY SHARE" if host.may_lock_users else ""}
        ), agents AS MATERIALIZED (
            SELECT s.agent_user_id AS id
            FROM chat.standing_agents s JOIN core.users u ON u.id = s.agent_user_id
            WHERE s.owner_user_id = :owner_id AND s.ended_at IS NULL
              AND s.agent_user_id <> :client_id
            ORDER BY s.created_at, s.agent_user_id LIMIT {MAX_AGENTS}
        ), made AS (
            INSERT INTO chat.conversations (
                id, listing_id, client_user_id, owner_user_id,
                listing_title, listing_price, listing_currency, shown_empty,
                member_ids, member_roles
            )
            SELECT :id, :listing_id, :client_id, :owner_id, :title, :price, :currency,
                   :shown_empty,
                   ARRAY[CAST(:client_id AS uuid), CAST(:owner_id AS uuid)]
                       || ARRAY(SELECT id FROM agents),
                   CAST(ARRAY['C', 'O'] || array_fill(CAST('a' AS text),
                       ARRAY[CAST((SELECT count(*) FROM agents) AS integer)]) AS "char"[])
            WHERE (SELECT count(*) FROM people) = 2
            ON CONFLICT ON CONSTRAINT unique_conversation_per_listing DO NOTHING
            RETURNING member_ids
        )
        SELECT ARRAY(SELECT id FROM people) AS people, (SELECT member_ids FROM made) AS member_ids
    """)


class PartyGone(Exception):
    """One who was to take part is no longer among the host's users."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(user_id)
        self.user_id = user_id


async def create(
    connection: AsyncConnection,
    query: Any,
    conversation_id: UUID,
    *,
    listing: Listing,
    client_id: UUID,
    owner_id: UUID,
    shown_empty: bool,
) -> tuple[UUID, bool]:
    """Open a conversation unless there is one: its id, and whether it is new.

    The standing agents of its owner are in it from the first moment. Of two at the same
    time one waits for the other's commit and finds its row. The owner's side sees it
    before its first message only if it is `shown_empty`. Raises PartyGone.
    """
    parties = Parties(listing.id, client_id, owner_id)
    snapshot = {"title": listing.title, "price": listing.price, "currency": listing.currency}
    values = {"id": conversation_id, **asdict(parties), **snapshot, "shown_empty": shown_empty}
    await connection.execute(_HOLD_AGENTS, {"owner_id": str(owner_id)})
    row = (await connection.execute(query, values)).one()
    for user_id in (client_id, owner_id):
        if user_id not in row.people:
            raise PartyGone(user_id)
    if row.member_ids is None:
        found = await find(connection, parties)
        assert found is not None
        return found, False
    await connection.execute(_JOIN, {"id": conversation_id, "member_ids": row.member_ids})
    return conversation_id, True
