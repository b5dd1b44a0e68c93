"""What is read for a list of conversations, whoever's it is."""

from sqlalchemy import text

from chatserver.db.host import HostTables
from chatserver.models import Filters, Role
from chatserver.repositories.conversation_views import ConversationViews
from tests.kit.reads import Reads
from tests.kit.services import Node, connected


async def test_a_page_of_many_conversations_reads_little_but_its_own_rows(
    node: Node, database_url: str
) -> None:
    """By the plan that PostgreSQL keeps for all users, most of whom have only a few."""
    owner = await node.add_user(Role.OWNER)
    for _ in range(30):
        chat = await node.add_chat(owner=owner)
        await node.send(chat.client, chat)
    async with connected(database_url) as admin:
        await admin.execute("VACUUM ANALYZE")
    async with node.database.transaction() as connection:
        views = ConversationViews(await HostTables.inspect(connection))
        await connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        async with Reads(connection) as reads:
            page = await views.list(connection, owner.user_id, limit=5, filters=Filters())
    assert len(page) == 5
    assert reads.rows["conversations"] <= 30 + 5
    # One for the day, those of it, and of each of the page both people, for it and for its
    # last message.
    assert reads.rows["participants"] <= 1 + 30 + 5 * 2 * 2


async def test_a_page_is_read_day_by_day_whatever_the_planner_takes_a_user_for(
    own_node: Node, own_database_url: str
) -> None:
    """By a plan for all users, in a database without statistics."""
    owner = await own_node.add_user(Role.OWNER)
    chats = [await own_node.add_chat(owner=owner) for _ in range(40)]
    async with connected(own_database_url) as admin:
        await admin.executemany(
            "UPDATE chat.conversations SET created_at = now() - $1 * interval '1 day'"
            " WHERE id = $2",
            [(age, chat.id) for age, chat in enumerate(chats)],
        )
    async with own_node.database.transaction() as connection:
        views = ConversationViews(await HostTables.inspect(connection))
        await connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        async with Reads(connection) as reads:
            await connection.execute(text("SET LOCAL enable_sort = on"))
            page = await views.list(
                connection, owner.user_id, limit=3, filters=Filters(is_unassigned=True)
            )
        async with Reads(connection) as by_listing:
            await connection.execute(text("SET LOCAL enable_sort = on"))
            filters = Filters(listing_id=chats[30].listing_id)
            found = await views.list(connection, owner.user_id, limit=3, filters=filters)
    assert [each.id for each in page] == [chat.id for chat in chats[:3]]
    assert reads.rows["conversations"] <= 3 + 3
    assert [each.id for each in found] == [chats[30].id]
    assert by_listing.rows["conversations"] == 1
