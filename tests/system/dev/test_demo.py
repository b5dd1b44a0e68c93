"""The demo data, on a migrated database."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chatserver.dev.demo import DEMO_LISTINGS, DEMO_USERS, LANDLORD, TENANT, load_demo


async def test_loading_twice_gives_each_row_once_and_keeps_changes(database_url: str) -> None:
    engine = create_async_engine(database_url)
    await load_demo(engine)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE core.users SET first_name = 'Lucia' WHERE id = :id"), {"id": TENANT.id}
        )
    await load_demo(engine)
    async with engine.connect() as connection:
        users = (await connection.execute(text("SELECT id, first_name FROM core.users"))).all()
        listings = (
            await connection.execute(text("SELECT id, owner_user_id, price FROM core.listings"))
        ).all()
    await engine.dispose()
    names = {user.id: user.first_name for user in DEMO_USERS}
    assert {row.id: row.first_name for row in users} == names | {TENANT.id: "Lucia"}
    assert {tuple(row) for row in listings} == {
        (listing.id, listing.owner_user_id, listing.price) for listing in DEMO_LISTINGS
    }


def test_the_ids_never_change() -> None:
    assert str(TENANT.id) == "00000000-0000-4000-8000-000000000001"
    assert str(LANDLORD.id) == "00000000-0000-4000-8000-000000000002"
    assert str(DEMO_LISTINGS[0].id) == "00000000-0000-4000-9000-000000000001"
