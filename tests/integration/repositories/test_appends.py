"""Appending: numbers without a gap whoever appends at once, and all or nothing."""

import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from chatserver.models import MessageType, Principal, SenderRole, User, Voice
from chatserver.repositories import appends
from chatserver.repositories.appends import (
    Appended,
    NewMessage,
    Outcome,
    append_messages,
    is_retryable,
)
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, until_someone_waits


def new(chat: Chat | UUID, sender: Principal, key: UUID | None = None, **parts: Any) -> NewMessage:
    message = NewMessage(
        id=uuid7(),
        conversation_id=chat.id if isinstance(chat, Chat) else chat,
        sender_id=sender.user_id,
        voice=None,
        message_type=MessageType.TEXT,
        content="hello",
        media_url=None,
        reply_to_seq=None,
        client_msg_id=key,
        digest=b"a" * 16,
    )
    return replace(message, **parts)


def voice(person: Principal, role: SenderRole = SenderRole.SERVICE) -> Voice:
    return Voice(role, User(person.user_id, None, None, None))


def outcomes(appended: list[Appended]) -> list[Outcome]:
    return [each.outcome for each in appended]


async def test_a_batch_is_numbered_in_its_order(node: Node, connection: asyncpg.Connection) -> None:
    one, two = await node.add_chat(), await node.add_chat()
    batch = [new(chat, chat.people[n % 2]) for n in range(6) for chat in (one, two)]
    appended = await append_messages(connection, batch)
    for chat in (one, two):
        mine = [
            each
            for each, what in zip(appended, batch, strict=True)
            if what.conversation_id == chat.id
        ]
        assert [each.seq for each in mine] == [each.rev for each in mine] == [1, 2, 3, 4, 5, 6]
        assert all(a.created_at < b.created_at for a, b in itertools.pairwise(mine))
        assert {each.member_ids for each in mine} == {(chat.client.user_id, chat.owner.user_id)}
    assert await find_faults(node.database) == {}


async def test_the_counters_come_once_for_each_conversation_on_its_last_message(
    node: Node, connection: asyncpg.Connection
) -> None:
    one = await node.add_chat()
    two = await node.add_chat(owner=one.owner)
    batch = [new(one, one.client), new(two, two.client), new(one, one.client), new(one, one.owner)]
    appended = await append_messages(connection, batch)
    assert [len(each.unread) for each in appended] == [0, 1, 0, 2]
    counted = {
        (each.conversation_id, each.user_id): (each.unread_count, each.total_unread_count)
        for result in appended
        for each in result.unread
    }
    assert counted == {
        (one.id, one.owner.user_id): (2, 3),
        (one.id, one.client.user_id): (1, 1),
        (two.id, one.owner.user_id): (1, 3),
    }


async def test_each_message_is_judged_for_itself(
    node: Node, connection: asyncpg.Connection
) -> None:
    chat, closed = await node.add_chat(), await node.add_chat()
    stranger = await node.add_user()
    key = uuid7()
    (first,) = await append_messages(connection, [new(chat, chat.client, key)])
    await node.sql("UPDATE chat.conversations SET is_active = false WHERE id = :id", id=closed.id)
    appended = await append_messages(
        connection,
        [
            new(chat, chat.owner),
            new(chat, chat.client, key),
            new(chat, chat.owner, key),
            new(chat, stranger),
            new(uuid7(), chat.client),
            new(closed, closed.client),
            new(closed, stranger),
            new(chat, chat.client, reply_to_seq=1),
            new(chat, chat.client, reply_to_seq=2),
            new(chat, chat.client, reply_to_seq=0),
            new(chat, stranger, voice=voice(stranger)),
        ],
    )
    assert outcomes(appended) == [
        Outcome.STORED,
        Outcome.DUPLICATE,
        Outcome.STORED,
        Outcome.NOT_FOUND,
        Outcome.NOT_FOUND,
        Outcome.CLOSED,
        Outcome.NOT_FOUND,
        Outcome.STORED,
        Outcome.BAD_REPLY,
        Outcome.BAD_REPLY,
        Outcome.STORED,
    ]
    assert appended[1].message_id == first.message_id
    assert [each.seq for each in appended if each.outcome is Outcome.STORED] == [2, 3, 4, 5]
    assert await find_faults(node.database) == {}


async def test_a_key_with_another_body_conflicts_and_is_found_in_a_closed_conversation(
    node: Node, connection: asyncpg.Connection
) -> None:
    chat, key = await node.add_chat(), uuid7()
    await append_messages(connection, [new(chat, chat.client, key)])
    await node.sql("UPDATE chat.conversations SET is_active = false WHERE id = :id", id=chat.id)
    (other,) = await append_messages(connection, [new(chat, chat.client, key, digest=b"b" * 16)])
    (same,) = await append_messages(connection, [new(chat, chat.client, key)])
    assert (other.outcome, same.outcome) == (Outcome.CONFLICT, Outcome.DUPLICATE)
    assert (await node.view(chat.client, chat)).last_seq == 1


async def test_a_privileged_senders_message_counts_for_both(
    node: Node, connection: asyncpg.Connection
) -> None:
    chat, service = await node.add_chat(), await node.add_user()
    (appended,) = await append_messages(connection, [new(chat, service, voice=voice(service))])
    assert {each.user_id for each in appended.unread} == {each.user_id for each in chat.people}
    assert await find_faults(node.database) == {}


async def test_the_role_of_a_sender_is_what_they_are_in_the_conversation(
    node: Node, connection: asyncpg.Connection
) -> None:
    """Whatever else they are: an admin who rents a flat is its client."""
    chat, other = await node.add_chat(), await node.add_user()
    admin, service = SenderRole.ADMIN, SenderRole.SERVICE
    appended = await append_messages(
        connection,
        [
            new(chat, chat.client),
            new(chat, chat.owner),
            new(chat, other, voice=voice(other, admin)),
            new(chat, other, voice=voice(other, service)),
            new(chat, chat.client, voice=voice(chat.client, admin)),
        ],
    )
    roles = ["client", "owner", "admin", "service", "client"]
    assert [each.sender_role for each in appended] == roles
    query = "SELECT sender_role FROM chat.messages WHERE conversation_id = :id ORDER BY seq"
    rows = await node.sql(query, id=chat.id)
    assert [row.sender_role for row in rows] == roles


@pytest.mark.parametrize(
    "ahead", ["-1 hour", "1 hour", "20 hours"], ids=["behind", "ahead", "far-ahead"]
)
@pytest.mark.parametrize("column", ["created_at", "last_message_at"])
async def test_created_at_rises_whatever_the_clock_says(
    own_node: Node, own_database_url: str, ahead: str, column: str
) -> None:
    """The clock of a database that took over may be behind the one that failed."""
    chat = await own_node.add_chat()
    await own_node.sql(f"UPDATE chat.conversations SET {column} = now() + interval '{ahead}'")
    async with connected(own_database_url) as connection:
        first = await append_messages(connection, [new(chat, chat.client) for _ in range(3)])
        second = await append_messages(connection, [new(chat, chat.owner) for _ in range(3)])
    times = [each.created_at for each in first + second]
    assert times == sorted(set(times))
    assert len(await own_node.all_messages(chat.client, chat)) == 6
    assert "created_at does not rise with seq" not in await find_faults(own_node.database)


async def test_a_batch_is_all_or_nothing(node: Node, connection: asyncpg.Connection) -> None:
    chat = await node.add_chat()
    good, bad = new(chat, chat.client, uuid7()), new(chat, chat.client, uuid7(), content=" ")
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await append_messages(connection, [good, bad])
    assert not is_retryable(caught.value)
    query = "SELECT count(*) FROM chat.message_keys WHERE conversation_id = :id"
    assert await node.value(query, id=chat.id) == 0
    assert await find_faults(node.database) == {}


async def test_a_key_that_another_commits_meanwhile_makes_the_statement_repeatable(
    node: Node, connection: asyncpg.Connection, database_url: str
) -> None:
    chat, key = await node.add_chat(), uuid7()
    async with connected(database_url) as other:
        transaction = other.transaction()
        await transaction.start()
        (first,) = await append_messages(other, [new(chat, chat.client, key)])
        again = asyncio.create_task(append_messages(connection, [new(chat, chat.client, key)]))
        await until_someone_waits(other)
        await transaction.commit()
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await again
    assert is_retryable(caught.value)
    (found,) = await append_messages(connection, [new(chat, chat.client, key)])
    assert (found.outcome, found.message_id) == (Outcome.DUPLICATE, first.message_id)


async def test_six_connections_on_the_same_conversations_leave_no_gap(
    node: Node, database_url: str
) -> None:
    chats = [await node.add_chat() for _ in range(3)]
    chats += [await node.add_chat(chats[0].owner, chats[1].client) for _ in range(2)]
    keys = [uuid7() for _ in range(30)]
    repeats = 0

    async def work(seed: int) -> list[Outcome]:
        nonlocal repeats
        dice, found = random.Random(seed), []
        async with connected(database_url) as mine:
            for _ in range(25):
                batch = [
                    new(chat, dice.choice(chat.people), dice.choice(keys))
                    for chat in dice.sample(chats, 3)
                ] + [new(dice.choice(chats), dice.choice(chats).client) for _ in range(2)]
                while True:
                    try:
                        found += outcomes(await append_messages(mine, batch))
                        break
                    except asyncpg.PostgresError as error:
                        assert is_retryable(error)
                        assert not isinstance(error, asyncpg.DeadlockDetectedError)
                        repeats += 1
        return found

    results = [each for found in await asyncio.gather(*map(work, range(6))) for each in found]
    assert await find_faults(node.database) == {}
    query = "SELECT count(*) FROM chat.messages WHERE conversation_id = ANY(:ids)"
    stored = await node.value(query, ids=[chat.id for chat in chats])
    assert results.count(Outcome.STORED) == stored
    assert {Outcome.STORED, Outcome.DUPLICATE, Outcome.NOT_FOUND} == set(results)
    assert await node.value(
        "SELECT count(*) = count(DISTINCT (conversation_id, sender_user_id, client_msg_id))"
        " FROM chat.messages WHERE client_msg_id IS NOT NULL"
    )


async def test_a_send_changes_no_index(own_node: Node, own_database_url: str) -> None:
    """All updates are HOT: the price of a message depends on it."""
    chat = await own_node.add_chat()
    async with connected(own_database_url) as connection:
        for _ in range(20):
            await append_messages(connection, [new(chat, chat.client)])
        await connection.execute("SELECT pg_stat_force_next_flush()")
        rows = await connection.fetch(
            "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relname IN ('conversations', 'participants', 'unread_totals')"
        )
    assert [row["n_tup_upd"] for row in rows] == [20, 20, 20]
    assert all(row["n_tup_hot_upd"] == 20 for row in rows), rows


@pytest.mark.parametrize("filled", [False, True], ids=["statistics of nothing", "of something"])
async def test_the_plan_looks_keys_and_participants_up_whatever_the_statistics_say(
    own_node: Node, own_database_url: str, filled: bool
) -> None:
    """A plan that is made while tables are small must still do when they have grown."""
    if filled:
        for _ in range(20):
            chat = await own_node.add_chat()
            await own_node.send(chat.client, chat, client_msg_id=uuid7())
    async with connected(
        own_database_url, plan_cache_mode="force_generic_plan", enable_seqscan="off"
    ) as connection:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("PREPARE append AS " + appends._APPEND)
        arguments = ", ".join(["'{}'"] * 10)
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE append ({arguments}, now())")
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan
    assert "Index Scan using message_keys_pkey" in plan
    assert "idx_participants_user" not in plan, "a user may have thousands of conversations"
