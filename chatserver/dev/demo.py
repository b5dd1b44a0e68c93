"""Demo data of `chatserver dev` and `cluster`: who chats there, and about what."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chatserver.backplane.memory import PresenceLeases, RateLimits
from chatserver.db.engine import Database, create_engine
from chatserver.db.host import HostTables
from chatserver.db.migrations import upgrade
from chatserver.events import Event
from chatserver.models import Principal, Role
from chatserver.repositories import openings
from chatserver.repositories.openings import Parties
from chatserver.services.conversations import ConversationService
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService
from chatserver.services.viewers import Viewers
from chatserver.settings import PresenceSettings, Settings


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A row of `core.users`; `role` is what goes into the user's token."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    role: Role


@dataclass(frozen=True, slots=True)
class DemoListing:
    """A row of `core.listings`; `price` is the rent of a month."""

    id: UUID
    owner_user_id: UUID
    title: str
    price: Decimal
    currency: str = "EUR"


def _user(number: int, first_name: str, last_name: str, email: str, role: Role) -> DemoUser:
    return DemoUser(
        UUID(f"00000000-0000-4000-8000-{number:012}"),
        f"{email}@example.com",
        first_name,
        last_name,
        role,
    )


def _listing(number: int, owner: DemoUser, title: str, price: str) -> DemoListing:
    return DemoListing(
        UUID(f"00000000-0000-4000-9000-{number:012}"), owner.id, title, Decimal(price)
    )


TENANT = _user(1, "Lucía", "Fernández", "lucia.fernandez", Role.CLIENT)
LANDLORD = _user(2, "Javier", "Moreno", "javier.moreno", Role.OWNER)
SECOND_TENANT = _user(3, "Mateo", "Núñez", "mateo.nunez", Role.CLIENT)
AGENT = _user(4, "Carmen", "Ibáñez", "carmen.ibanez", Role.AGENT)
ADMIN = _user(5, "Álvaro", "Castro", "alvaro.castro", Role.ADMIN)
SERVICE = _user(6, "EasyRent", "Avisos", "avisos", Role.SERVICE)

DEMO_USERS: tuple[DemoUser, ...] = (TENANT, LANDLORD, SECOND_TENANT, AGENT, ADMIN, SERVICE)

DEMO_LISTINGS: tuple[DemoListing, ...] = (
    _listing(1, LANDLORD, "Piso luminoso de dos habitaciones en Malasaña, Madrid", "1250.00"),
    _listing(2, LANDLORD, "Estudio reformado junto al mercado de Triana, Sevilla", "690.00"),
    _listing(3, AGENT, "Ático con terraza y vistas al mar en El Cabanyal, Valencia", "1480.00"),
    _listing(4, AGENT, "Habitación exterior en piso compartido en Gràcia, Barcelona", "575.50"),
)

_INSERT_USER = text(
    "INSERT INTO core.users (id, email, first_name, last_name)"
    " VALUES (:id, :email, :first_name, :last_name) ON CONFLICT DO NOTHING"
)
_INSERT_LISTING = text(
    "INSERT INTO core.listings (id, owner_user_id, title, price, currency)"
    " VALUES (:id, :owner_user_id, :title, :price, :currency) ON CONFLICT DO NOTHING"
)


async def prepare_demo(settings: Settings) -> UUID:
    """Migrate the database, and put the demo there; answers the id of its conversation.

    Safe to repeat; to be called before a server starts.
    """
    await upgrade(settings.database.url)
    engine = create_engine(settings.database.url, pool_size=1)
    try:
        await load_demo(engine)
        return await open_demo_conversation(engine, settings.presence)
    finally:
        await engine.dispose()


async def load_demo(engine: AsyncEngine) -> None:
    """Put the demo's users and listings into the migrated database of `engine`.

    Safe to repeat: rows that are there stay as they are.
    """
    users = [
        {"id": u.id, "email": u.email, "first_name": u.first_name, "last_name": u.last_name}
        for u in DEMO_USERS
    ]
    listings = [
        {
            "id": listing.id,
            "owner_user_id": listing.owner_user_id,
            "title": listing.title,
            "price": listing.price,
            "currency": listing.currency,
        }
        for listing in DEMO_LISTINGS
    ]
    async with engine.begin() as connection:
        await connection.execute(_INSERT_USER, users)
        await connection.execute(_INSERT_LISTING, listings)


async def open_demo_conversation(engine: AsyncEngine, settings: PresenceSettings) -> UUID:
    """The tenant's conversation with the landlord about the second listing, opened if need be.

    The first one is left for whoever tries the API with the ids of the README.

    To be called before the server starts: nobody hears of it.
    """
    database, nobody = Database(engine), _Nobody()
    async with database.transaction() as connection:
        host = await HostTables.inspect(connection)
        parties = Parties(DEMO_LISTINGS[1].id, TENANT.id, LANDLORD.id)
        if (found := await openings.find(connection, parties)) is not None:
            return found
    presence = PresenceService(database, database, PresenceLeases(), nobody, settings)
    viewers = Viewers(host, presence, SenderService(database, host, ttl=0.0))
    conversations = ConversationService(database, host, viewers, nobody, RateLimits(""))
    # As the host would: the landlord sees it although nothing was written yet.
    service = Principal(SERVICE.id, Role.SERVICE, datetime.max.replace(tzinfo=UTC))
    conversation, _ = await conversations.open(service, DEMO_LISTINGS[1].id, TENANT.id)
    return conversation.id


class _Nobody:
    """A publisher while no client can be connected."""

    def publish(self, event: Event) -> None:
        """Nobody is there to be told."""
