"""Partitions: made ahead, safe to make at once, and nothing lost where one is missing."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from uuid_utils.compat import uuid7

from chatserver.errors import NotFound, Unavailable
from chatserver.repositories.messages import made_at, time_bounds
from chatserver.services.maintenance import MaintenanceService
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, running_node, until_someone_waits
from tests.kit.stalls import PATIENCE


@pytest.fixture
def database_url(own_database_url: str) -> str:
    """Partitions are the whole database's."""
    return own_database_url


@pytest.fixture
def node(own_node: Node) -> Node:
    return own_node


def month_after(months: int) -> datetime:
    """The first moment of a month, counted from the present one."""
    now = datetime.now(UTC)
    count = now.year * 12 + now.month - 1 + months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


def name_of(months: int) -> str:
    return f"messages_{month_after(months):%Y_%m}"


async def partitions(node: Node) -> list[str]:
    rows = await node.sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'chat.messages'::regclass ORDER BY 1"
    )
    return [str(row[0]).removeprefix("chat.") for row in rows]


async def metric(node: Node) -> str:
    (line,) = [
        line
        for line in node.metrics.render(["text/plain"])[0].decode().splitlines()
        if line.startswith("chat_default_partition_in_use")
    ]
    return line.split()[-1]


async def store_at(node: Node, chat: Chat, at: datetime) -> UUID:
    """Send a message that is created at `at`, a time to come."""
    await node.sql(
        "UPDATE chat.conversations SET last_message_at = CAST(:at AS timestamptz) - interval '1us'"
        " WHERE id = :id",
        at=at,
        id=chat.id,
    )
    message = await node.send(chat.client, chat, f"at {at}")
    assert message.created_at == at
    return message.id


async def place_of(node: Node, message_id: UUID) -> str:
    place = await node.value(
        "SELECT tableoid::regclass::text FROM chat.messages WHERE id = :id", id=message_id
    )
    return str(place).removeprefix("chat.")


async def test_this_month_and_three_more_are_there_with_their_bounds(node: Node) -> None:
    assert set(await partitions(node)) == {"messages_default", *map(name_of, range(4))}
    rows = await node.sql(
        "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class"
        " WHERE relname ~ '^messages_2' AND relkind = 'r' ORDER BY relname"
    )
    assert [tuple(row) for row in rows] == [
        (
            name_of(n),
            f"FOR VALUES FROM ('{month_after(n):%Y-%m-%d} 00:00:00+00')"
            f" TO ('{month_after(n + 1):%Y-%m-%d} 00:00:00+00')",
        )
        for n in range(4)
    ]


async def test_making_them_again_makes_nothing(node: Node) -> None:
    before = await partitions(node)
    await node.maintenance.ensure_partitions()
    assert await partitions(node) == before
    assert await node.value("SELECT chat.ensure_message_partitions(3)") == 0
    assert await node.value("SELECT chat.ensure_message_partitions(5)") == 2


async def test_the_bounds_do_not_depend_on_the_sessions_time_zone(
    node: Node, database_url: str
) -> None:
    async with connected(database_url, timezone="America/Bogota") as elsewhere:
        assert await elsewhere.fetchval("SELECT chat.ensure_message_partitions(4)") == 1
    bounds = await node.value(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = :name",
        name=name_of(4),
    )
    assert f"FROM ('{month_after(4):%Y-%m-%d} 00:00:00+00')" in bounds


async def test_several_nodes_make_them_at_once(node: Node, database_url: str) -> None:
    for n in range(4):
        await node.sql(f"DROP TABLE chat.{name_of(n)}")
    async with running_node(database_url) as other:
        await asyncio.gather(*(each.maintenance.ensure_partitions() for each in (node, other) * 3))
    assert len(await partitions(node)) == 5


async def test_every_partition_has_the_index_and_the_key(node: Node) -> None:
    rows = await node.sql(
        "SELECT tablename, count(*) FROM pg_indexes"
        " WHERE schemaname = 'chat' AND tablename ~ '^messages_' GROUP BY 1"
    )
    assert {row[0]: row[1] for row in rows} == dict.fromkeys(await partitions(node), 2)


async def test_without_its_partition_a_message_is_kept_found_and_alarmed(node: Node) -> None:
    chat = await node.add_chat()
    await node.sql(f"DROP TABLE chat.{name_of(0)}")
    message = await node.send(chat.client, chat)
    assert await place_of(node, message.id) == "messages_default"
    assert await node.messages.get(chat.owner, message.id) == message
    assert await node.all_messages(chat.owner, chat) == [message]
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await node.maintenance.look_for_strays()
    assert await metric(node) == "1"
    assert [entry["event"] for entry in logs] == ["default_partition_in_use"], "once is enough"
    # The daily job puts things right, the key and the order included.
    await node.maintenance.ensure_partitions()
    assert await metric(node) == "0"
    assert await place_of(node, message.id) == name_of(0)
    again = await node.send(chat.client, chat)
    assert [each.id for each in await node.all_messages(chat.owner, chat)] == [message.id, again.id]
    assert await find_faults(node.database) == {}


async def test_the_alarm_stays_as_it_is_while_nobody_can_look(database_url: str) -> None:
    async with (
        running_node(database_url) as node,
        running_node(database_url, database__statement_timeout=0.5) as hasty,
        connected(database_url) as other,
    ):
        await store_at(node, await node.add_chat(), month_after(7))
        await node.maintenance.look_for_strays()
        await other.execute("BEGIN; LOCK TABLE chat.messages_default")
        await MaintenanceService(hasty.database, node.metrics).look_for_strays()
        assert await metric(node) == "1"
        await other.execute("DELETE FROM chat.messages_default; COMMIT")
        await node.maintenance.look_for_strays()
        assert await metric(node) == "0"


async def test_strays_of_other_months_stay_and_keep_the_alarm_on(node: Node) -> None:
    chat = await node.add_chat()
    far = await store_at(node, chat, month_after(7))
    await node.maintenance.ensure_partitions()
    assert await place_of(node, far) == "messages_default"
    assert await metric(node) == "1"


async def test_a_conversation_goes_on_across_the_end_of_a_month(node: Node) -> None:
    chat = await node.add_chat()
    end = month_after(1)
    ids = [await store_at(node, chat, end + timedelta(microseconds=n)) for n in (-2, -1, 0, 1)]
    assert [await place_of(node, each) for each in ids] == [
        name_of(0), name_of(0), name_of(1), name_of(1)
    ]  # fmt: skip
    stored = await node.all_messages(chat.owner, chat)
    assert [each.id for each in stored] == ids
    newest = await node.messages.history(chat.owner, chat.id, limit=2)
    assert [each.id for each in newest.messages] == ids[:1:-1]
    before = await node.messages.history(chat.owner, chat.id, limit=9, before=end)
    assert [each.id for each in before.messages] == ids[1::-1]
    assert await node.receipts.mark_read(chat.owner, chat.id, 3) == 1
    assert (await node.view(chat.owner, chat)).last_message == stored[-1]
    assert await find_faults(node.database) == {}


@pytest.mark.parametrize("hours", [-23, 0, 23])
async def test_a_message_is_found_by_id_while_the_clocks_differ_by_less_than_a_day(
    node: Node, hours: int
) -> None:
    chat = await node.add_chat()
    message = await node.send(chat.client, chat)
    moved = UUID(int=message.id.int + (hours * 3_600_000 << 80))
    await node.sql("UPDATE chat.messages SET id = :id", id=moved)
    assert (await node.messages.get(chat.owner, moved)).seq == 1


@pytest.mark.parametrize("months", [1, 7], ids=["a partition made ahead", "the default one"])
async def test_after_a_database_whose_clock_was_ahead_messages_are_found_by_their_ids(
    node: Node, months: int
) -> None:
    chat, key = await node.add_chat(), uuid4()
    await store_at(node, chat, month_after(months) + timedelta(days=3))
    sent = await node.send(chat.client, chat, client_msg_id=key)
    again = await node.try_send(chat.client, chat, client_msg_id=key)
    assert again.is_duplicate
    assert again.message == sent == (await node.all_messages(chat.owner, chat))[1]
    edited = await node.messages.edit(chat.client, sent.id, "edited")
    assert await node.messages.get(chat.owner, sent.id) == edited
    assert await find_faults(node.database) == {}


@pytest.mark.parametrize("days", [-40, 3])
async def test_a_node_whose_clock_is_wrong_gives_ids_of_the_right_time(
    node: Node, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    chat = await node.add_chat()

    def wrong_uuid7() -> UUID:
        return UUID(int=uuid7().int + (days * 86_400_000 << 80))

    monkeypatch.setattr("chatserver.services.messages.uuid7", wrong_uuid7)
    sent = [await node.send(chat.client, chat, str(number)) for number in range(2)]
    assert [await node.messages.get(chat.owner, each.id) for each in sent] == sent
    assert {each.id.version for each in sent} == {7}
    assert all(abs(made_at(each.id) - each.created_at) < timedelta(minutes=1) for each in sent)


async def test_any_uuid_may_be_asked_for(node: Node) -> None:
    chat = await node.add_chat()
    for odd in (UUID(int=0), UUID(int=2**128 - 1), uuid4(), uuid7()):
        earliest, latest = time_bounds(odd)
        assert latest - earliest == timedelta(days=2)
        with pytest.raises(NotFound):
            await node.messages.get(chat.client, odd)


async def test_a_lookup_by_id_reads_two_partitions_at_most(node: Node) -> None:
    chat = await node.add_chat()
    message = await node.send(chat.client, chat)
    earliest, latest = time_bounds(message.id)
    rows = await node.sql(
        "EXPLAIN SELECT * FROM chat.messages WHERE id = :id AND created_at"
        f" BETWEEN '{earliest.isoformat()}' AND '{latest.isoformat()}'",
        id=message.id,
    )
    plan = "\n".join(row[0] for row in rows)
    assert plan.count("Scan") <= 3, plan  # the month, a neighbour at its edge, the default


async def test_messages_sent_while_their_partition_is_made_all_end_up_in_it(
    node: Node, database_url: str
) -> None:
    chats = [await node.add_chat() for _ in range(4)]
    await node.sql(f"DROP TABLE chat.{name_of(0)}")
    async with running_node(database_url) as other:
        sends = [
            each.send(chat.client, chat, str(number))
            for number in range(25)
            for chat in chats
            for each in (node, other)
        ]
        making = [each.maintenance.ensure_partitions() for each in (node, other)]
        await asyncio.gather(*sends[:100], *making, *sends[100:])
    assert await node.value(f"SELECT count(*) FROM chat.{name_of(0)}") == 200
    assert await node.value("SELECT count(*) FROM chat.messages_default") == 0
    assert await find_faults(node.database) == {}


async def test_a_message_that_slips_into_the_default_partition_meanwhile_is_moved_too(
    node: Node, database_url: str
) -> None:
    chat = await node.add_chat()
    message = await node.send(chat.client, chat)
    month = name_of(0)
    await node.sql("ALTER FUNCTION chat.ensure_message_partitions SET lock_timeout = '9s'")
    await node.sql(f"CREATE TABLE chat.kept AS SELECT * FROM chat.{month}")
    await node.sql(f"DROP TABLE chat.{month}")
    async with connected(database_url) as sender, connected(database_url) as maker:
        await sender.execute("BEGIN; INSERT INTO chat.messages SELECT * FROM chat.kept")
        making = asyncio.create_task(maker.execute("SELECT chat.ensure_message_partitions()"))
        await until_someone_waits(sender)
        await sender.execute("COMMIT")
        await making
    assert await place_of(node, message.id) == month


async def test_who_reads_while_strays_are_moved_finds_them_where_they_are_then(
    node: Node, database_url: str
) -> None:
    chat = await node.add_chat()
    await node.sql(f"DROP TABLE chat.{name_of(0)}")
    message = await node.send(chat.client, chat)
    async with connected(database_url) as maker, connected(database_url) as other:
        await maker.execute("BEGIN; SELECT chat.ensure_message_partitions()")
        reading = asyncio.create_task(node.all_messages(chat.owner, chat))
        editing = asyncio.create_task(node.messages.edit(chat.client, message.id, "edited"))
        await until_someone_waits(other, 2)
        await maker.execute("COMMIT")
        assert [each.id for each in await reading] == [message.id]
        assert (await editing).id == message.id
    assert await place_of(node, message.id) == name_of(0)


async def test_making_partitions_waits_for_who_has_begun_to_write_and_not_the_other_way_round(
    node: Node, database_url: str
) -> None:
    await node.add_chat()
    await node.sql("ALTER FUNCTION chat.ensure_message_partitions SET lock_timeout = '9s'")
    async with connected(database_url) as writer, connected(database_url) as maker:
        await writer.execute("BEGIN; UPDATE chat.conversations SET rev = rev")
        making = asyncio.create_task(maker.execute("SELECT chat.ensure_message_partitions(4)"))
        async with connected(database_url) as other:
            await until_someone_waits(other)
        await writer.execute("UPDATE chat.messages SET rev = rev; COMMIT")
        await making


async def test_making_partitions_gives_way_to_those_who_write_and_then_succeeds(
    node: Node, database_url: str
) -> None:
    await node.sql(f"DROP TABLE chat.{name_of(3)}")
    async with connected(database_url) as writer:
        await writer.execute("BEGIN; SELECT count(*) FROM chat.messages_default")
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with connected(database_url) as maker, asyncio.timeout(PATIENCE):
                await maker.execute("SELECT chat.ensure_message_partitions()")
        making = asyncio.create_task(node.maintenance.ensure_partitions())
        await asyncio.sleep(0.5)
        assert not making.done()
        await writer.execute("COMMIT")
        await making
    assert len(await partitions(node)) == 5


async def test_strays_are_looked_for_even_where_no_partition_can_be_made(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await node.add_chat()
    await node.sql(f"DROP TABLE chat.{name_of(0)}")
    await node.send(chat.client, chat)
    monkeypatch.setattr("chatserver.services.maintenance.ATTEMPTS", 1)
    await node.sql("ALTER FUNCTION chat.ensure_message_partitions SET lock_timeout = '20ms'")
    async with connected(node.settings.database.url) as reader:
        await reader.execute("BEGIN; SELECT count(*) FROM chat.messages_default")
        with pytest.raises(Unavailable):
            await node.maintenance.ensure_partitions()
    assert await metric(node) == "1"
