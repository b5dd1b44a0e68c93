"""The writer while its database is cut off, frozen, restarted or busy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from chatserver.errors import Unavailable
from chatserver.events import HeadMoved, MessageSent
from chatserver.models import MessageType
from chatserver.repositories.appends import NewMessage, Outcome
from chatserver.services.writer import Stored
from tests.integration.services.test_writer import failures
from tests.kit.postgres import running_postgres
from tests.kit.proxy import Proxy
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, running_node, until_someone_waits
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually


@pytest.fixture
def database_url(own_database_url: str) -> str:
    """Its backends are ended."""
    return own_database_url


@pytest.fixture
def node(own_node: Node) -> Node:
    return own_node


@pytest.fixture
async def cut_off(database_url: str, proxy: Proxy) -> AsyncIterator[Node]:
    """A node that reaches its database by way of the proxy."""
    async with running_node(proxy.url(database_url)) as node:
        yield node


_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


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


async def store(node: Node, chat: Chat, content: str) -> None:
    """In as many attempts as it takes: a busy machine is slower than some timeouts."""
    key = uuid7()
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(Unavailable):
                await node.send(chat.client, chat, content, client_msg_id=key)
                return


async def test_after_a_lost_reply_the_retry_finds_the_truth(cut_off: Node, proxy: Proxy) -> None:
    node, key = cut_off, uuid7()
    chat = await node.add_chat()
    cut = proxy.cut_after(b"answer lost")
    with pytest.raises(Unavailable) as caught:
        await node.send(chat.client, chat, "answer lost", client_msg_id=key)
    assert cut.done.is_set()
    assert caught.value.retryable
    again = await node.try_send(chat.client, chat, "answer lost", client_msg_id=key)
    assert again.is_duplicate
    assert again.message.seq == 1
    assert failures(node) == {"unavailable": 1}
    assert node.publisher.of(MessageSent) == []
    await eventually(lambda: node.publisher.of(HeadMoved) != [])
    (head,) = node.publisher.of(HeadMoved)
    assert (head.conversation_id, head.last_seq, head.rev) == (chat.id, 1, 1)
    assert await find_faults(node.database) == {}


async def test_a_request_that_never_arrived_is_unavailable_and_the_retry_stores_it(
    cut_off: Node, proxy: Proxy
) -> None:
    node, key = cut_off, uuid7()
    chat = await node.add_chat()
    proxy.cut_before(b"request lost")
    with pytest.raises(Unavailable):
        await node.send(chat.client, chat, "request lost", client_msg_id=key)
    again = await node.try_send(chat.client, chat, "request lost", client_msg_id=key)
    assert not again.is_duplicate
    assert again.message.seq == 1


async def test_a_lost_reply_fails_the_batch_and_every_retry_is_a_duplicate(
    cut_off: Node, proxy: Proxy
) -> None:
    node = cut_off
    chats = [await node.add_chat() for _ in range(3)]
    keys = [uuid7() for _ in range(9)]
    proxy.cut_after(b"number 8")
    first = await append_all(
        node, [new(chats[n % 3], f"number {n}", key) for n, key in enumerate(keys)]
    )
    assert all(isinstance(each, Unavailable) for each in first)
    assert len({id(each) for each in first}) == 9
    again = await append_all(
        node, [new(chats[n % 3], f"number {n}", key) for n, key in enumerate(keys)]
    )
    assert {isinstance(each, tuple) and each[0].outcome for each in again} == {Outcome.DUPLICATE}
    assert await find_faults(node.database) == {}


async def test_a_frozen_database_is_unavailable_and_goes_on_when_it_thaws(
    node: Node, database_url: str, proxy: Proxy
) -> None:
    chat = await node.add_chat()
    async with running_node(
        proxy.url(database_url), database__statement_timeout=0.5, writer__timeout=5.0
    ) as hasty:
        await store(hasty, chat, "before")
        proxy.blackhole()
        with pytest.raises(Unavailable):
            await hasty.send(chat.client, chat, "while frozen")
        proxy.heal()
        await store(hasty, chat, "after")
    contents = [each.content for each in await node.all_messages(chat.owner, chat)]
    assert contents[0] == "before"
    assert contents[-1] == "after"
    assert await find_faults(node.database) == {}


async def test_an_ended_backend_is_replaced_before_the_next_send(
    node: Node, database_url: str
) -> None:
    chat = await node.add_chat()
    for number in range(3):
        await node.send(chat.client, chat, str(number))
        async with connected(database_url) as admin:
            ended = await admin.fetch(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            while await admin.fetchval(_OTHERS):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(ended) >= 1
        await asyncio.sleep(0.01)
    assert (await node.send(chat.client, chat, "3")).seq == 4


async def test_a_backend_that_ends_under_a_send_is_unavailable_and_the_retry_works(
    node: Node, database_url: str
) -> None:
    chat, key = await node.add_chat(), uuid7()
    async with connected(database_url) as holder, connected(database_url) as admin:
        await holder.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
        sending = asyncio.create_task(node.writer.append(new(chat, key=key)))
        await until_someone_waits(admin)
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with pytest.raises(Unavailable):
            await sending
        await holder.execute("COMMIT")
    stored, _ = await node.writer.append(new(chat, key=key))
    assert (stored.outcome, stored.seq) == (Outcome.STORED, 1)


async def test_sends_go_on_after_a_restart_and_none_is_lost() -> None:
    with running_postgres() as server:
        await server.create_database("restarted")
        url = server.url("restarted")
        from chatserver.db import migrations

        await migrations.upgrade(url)
        async with running_node(url) as node:
            chat = await node.add_chat()
            stored: list[int] = []

            async def keep_sending() -> None:
                for number in range(40):
                    key = uuid7()
                    while True:
                        try:
                            sent = await node.try_send(
                                chat.client, chat, str(number), client_msg_id=key
                            )
                            break
                        except Unavailable:
                            await asyncio.sleep(0.05)
                    stored.append(sent.message.seq)
                    await asyncio.sleep(0.01)

            sending = asyncio.create_task(keep_sending())
            await asyncio.sleep(0.15)
            await asyncio.to_thread(server.restart, "immediate")
            await sending
            assert stored == list(range(1, 41))
            assert await find_faults(node.database) == {}


async def test_sends_go_on_while_the_pool_is_exhausted(database_url: str) -> None:
    async with running_node(
        database_url, database__pool_size=1, database__pool_timeout=0.2
    ) as node:
        chat = await node.add_chat()
        async with node.database.transaction():
            with pytest.raises(Unavailable) as caught:
                await node.view(chat.client, chat)
            assert (caught.value.retry_after or 9) <= 2
            assert (await node.send(chat.client, chat)).seq == 1
