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
    # Those of one day, and of each of the page both people, for it and for its last message.
    assert reads.rows["participants"] <= 30 + 5 * 2 * 2
