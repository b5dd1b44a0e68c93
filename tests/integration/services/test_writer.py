"""The writer on a real PostgreSQL: groups, bad neighbours, cut connections, restarts."""

import asyncio
import re
from collections.abc import Callable
from uuid import UUID

import pytest
import structlog
from uuid_utils.compat import uuid7

from chatserver.errors import InternalError, Unavailable
from chatserver.events import MessageSent, UnreadChanged
from chatserver.models import MessageType
from chatserver.repositories.appends import NewMessage, Outcome
from chatserver.services.writer import CONNECTION_SETTINGS, Stored
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, running_node, until_someone_waits
from tests.kit.waiting import eventually

LOCK_TIMEOUT = CONNECTION_SETTINGS["lock_timeout"]


def new(chat: Chat, content: str = "hello", key: UUID | None = None) -> NewMessage:
    return NewMessage(
        id=uuid7(),
        conversation_id=chat.id,
        sender_id=chat.client.user_id,
        voice=None,
        message_type=MessageType.TEXT,
        content=content,
        media_url=None,
        reply_to_seq=None,
        client_msg_id=key,
        digest=b"",
    )


async def append_all(node: Node, batch: list[NewMessage]) -> list[Stored | BaseException]:
    return await asyncio.gather(*map(node.writer.append, batch), return_exceptions=True)


def batches(node: Node) -> tuple[int, int]:
    """How many group commits there were, and of how many messages."""
    lines = node.metrics.render(["text/plain"])[0].decode().splitlines()
    values = {line.split()[0]: line.split()[-1] for line in lines if not line.startswith("#")}
    return (
        int(float(values["chat_commit_batch_size_count"])),
        int(float(values["chat_commit_batch_size_sum"])),
    )


async def test_a_lone_message_is_committed_at_once_and_neighbours_gather(
    node: Node, database_url: str
) -> None:
    chat, other = await node.add_chat(), await node.add_chat()
    await node.writer.append(new(chat))
    await node.writer.append(new(chat))
    assert batches(node) == (2, 2)
    async with connected(database_url) as holder:
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        first = asyncio.create_task(node.writer.append(new(chat)))
        await asyncio.sleep(0)
        await until_a_send_waits(database_url)
        rest = [asyncio.create_task(node.writer.append(new(each))) for each in (chat, other) * 10]
        await asyncio.sleep(0.05)
        await holder.execute("COMMIT")
        stored = [await task for task in (first, *rest)]
    assert batches(node) == (4, 23)
    in_order = [
        outcome.seq for outcome, _ in stored if outcome.member_ids[0] == chat.client.user_id
    ]
    assert in_order == list(range(3, 14))
    assert [each.message.seq for each in node.publisher.of(MessageSent, of(chat))] == list(
        range(1, 14)
    )
    assert await find_faults(node.database) == {}


def failures(node: Node) -> dict[str, int]:
    """The sends whose commit failed, by reason."""
    text = node.metrics.render(["text/plain"])[0].decode()
    found = re.findall(r'^chat_commit_failures_total\{reason="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {reason: int(count) for reason, count in found if count != "0"}


def of(chat: Chat) -> Callable[[MessageSent], bool]:
    return lambda event: event.message.conversation_id == chat.id


async def until_a_send_waits(database_url: str) -> None:
    async with connected(database_url) as watcher:
        await until_someone_waits(watcher)


@pytest.mark.parametrize(
    "bad", ["  ", "nul \x00 inside", "surrogate \ud800"], ids=["check", "nul", "surrogate"]
)
async def test_a_bad_message_does_not_fail_its_twenty_neighbours(own_node: Node, bad: str) -> None:
    chat, other = await own_node.add_chat(), await own_node.add_chat()
    batch = [new(chat if n % 2 else other, f"neighbour {n}") for n in range(20)]
    batch.insert(7, new(chat, bad + "secret" if bad.strip() else bad))
    with structlog.testing.capture_logs() as logs:
        results = await append_all(own_node, batch)
    assert isinstance(results.pop(7), InternalError)
    assert [isinstance(each, tuple) and each[0].outcome for each in results] == [
        Outcome.STORED
    ] * 20
    assert len(own_node.publisher.of(MessageSent)) == 20
    assert failures(own_node) == {"refused": 1}
    (record,) = logs
    assert record["event"] == "append_refused"
    assert "secret" not in str(record)
    assert "neighbour" not in str(record)
    assert await find_faults(own_node.database) == {}


@pytest.mark.parametrize("table", ["conversations", "unread_totals"])
async def test_a_row_that_is_locked_for_long_does_not_fail_its_neighbours(
    database_url: str, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setitem(CONNECTION_SETTINGS, "lock_timeout", LOCK_TIMEOUT)
    async with running_node(database_url) as node, connected(database_url) as holder:
        held, free = await node.add_chat(), await node.add_chat()
        row = held.id if table == "conversations" else held.owner.user_id
        key = "id" if table == "conversations" else "user_id"
        await holder.execute("BEGIN")
        await holder.execute(f"SELECT FROM chat.{table} WHERE {key} = $1 FOR UPDATE", row)
        results = await append_all(node, [new(held), new(free), new(held), new(free)])
        await holder.execute("ROLLBACK")
        assert [isinstance(each, Unavailable) for each in results] == [True, False, True, False]
        assert [each.seq for each, _ in (results[1], results[3])] == [1, 2]  # type: ignore[misc]
        assert failures(node) == {"locked": 2}
        await node.writer.append(new(held))
        assert await find_faults(node.database) == {}


async def test_a_sender_who_went_during_the_commit_keeps_nothing_from_the_others(
    node: Node, database_url: str
) -> None:
    chat = await node.add_chat()
    async with connected(database_url) as holder:
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        going = asyncio.create_task(node.writer.append(new(chat, "sent and gone")))
        await asyncio.sleep(0)
        await until_a_send_waits(database_url)
        queued = asyncio.create_task(node.writer.append(new(chat, "never sent")))
        await asyncio.sleep(0)
        going.cancel()
        queued.cancel()
        await asyncio.wait([going, queued])
        await holder.execute("COMMIT")
    await node.writer.append(new(chat, "next"))
    published = [each.message.content for each in node.publisher.of(MessageSent)]
    assert published == ["sent and gone", "next"]
    stored = await node.all_messages(chat.owner, chat)
    assert [each.content for each in stored] == published


async def test_too_many_waiting_senders_are_refused_at_once(database_url: str) -> None:
    async with (
        running_node(database_url, writer__max_waiting=3) as node,
        connected(database_url) as holder,
    ):
        chat = await node.add_chat()
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        first = asyncio.create_task(node.writer.append(new(chat)))
        await until_a_send_waits(database_url)
        results = asyncio.gather(first, append_all(node, [new(chat) for _ in range(5)]))
        await asyncio.sleep(0.05)
        await holder.execute("COMMIT")
        _, rest = await results
        assert [isinstance(each, Unavailable) for each in rest] == [False] * 3 + [True] * 2
        assert (await node.view(chat.client, chat)).last_seq == 4


async def test_a_send_that_takes_too_long_is_unavailable_and_may_still_happen(
    database_url: str,
) -> None:
    async with (
        running_node(database_url, writer__timeout=0.2) as node,
        running_node(database_url) as patient,
        connected(database_url) as holder,
    ):
        chat, key = await node.add_chat(), uuid7()
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        with pytest.raises(Unavailable):
            await node.writer.append(new(chat, key=key))
        await holder.execute("COMMIT")
        await eventually(lambda: node.publisher.of(MessageSent) != [])
        again, _ = await patient.writer.append(new(chat, key=key))
        assert again.outcome is Outcome.DUPLICATE
        assert len(node.publisher.of(MessageSent)) == 1


async def test_closing_finishes_what_waits(database_url: str) -> None:
    async with running_node(database_url) as node:
        chat = await node.add_chat()
        tasks = [asyncio.create_task(node.writer.append(new(chat))) for _ in range(250)]
        await asyncio.sleep(0)
        await node.writer.close()
        assert all(task.done() for task in tasks)
        assert (await node.view(chat.client, chat)).last_seq == 250


async def test_the_counters_that_are_published_are_those_that_are_stored(node: Node) -> None:
    chat = await node.add_chat()
    await append_all(node, [new(chat) for _ in range(30)])
    told = node.publisher.of(UnreadChanged)
    assert {each.user_id for each in told} == {chat.owner.user_id}
    assert told[-1].unread_count == told[-1].total_unread_count == 30
    assert [each.unread_count for each in told] == sorted(each.unread_count for each in told)
