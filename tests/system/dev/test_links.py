"""What `chatserver dev` prepares for the chat page: links, and a conversation to open."""

from urllib.parse import parse_qs, urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chatserver.dev.demo import DEMO_LISTINGS, LANDLORD, TENANT, load_demo, open_demo_conversation
from chatserver.dev.manifests import page_link
from tests.kit.services import settings_for


def test_a_link_tells_the_server_nothing() -> None:
    link = urlsplit(page_link("http://127.0.0.1:8080", "a.b.c"))
    assert (link.scheme, link.netloc, link.path, link.query) == (
        "http",
        "127.0.0.1:8080",
        "/",
        "",
    )
    assert link.fragment == "token=a.b.c"


async def test_a_link_offers_listings_by_their_titles() -> None:
    fragment = urlsplit(page_link("http://x", "t", offers=DEMO_LISTINGS[:2])).fragment
    assert " " not in fragment
    assert parse_qs(fragment)["offer"] == [
        f"{listing.id}~{listing.title}" for listing in DEMO_LISTINGS[:2]
    ]


async def test_the_demo_conversation_is_opened_once_for_both(database_url: str) -> None:
    presence = settings_for(database_url).presence
    engine = create_async_engine(database_url)
    await load_demo(engine)
    first = await open_demo_conversation(engine, presence)
    assert await open_demo_conversation(engine, presence) == first
    async with engine.connect() as connection:
        rows = (
            await connection.execute(
                text("SELECT id, client_user_id, owner_user_id FROM chat.conversations")
            )
        ).all()
    await engine.dispose()
    assert rows == [(first, TENANT.id, LANDLORD.id)]
