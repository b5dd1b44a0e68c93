"""Resync hints: after a request clients hear how it stands."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from chatserver.events import HeadMoved, UnreadChanged
from tests.kit.devices import held_open
from tests.kit.proxy import Proxy
from tests.kit.services import Node, running_node, until_someone_waits
from tests.kit.waiting import eventually


@pytest.fixture
async def node(database_url: str, proxy: Proxy) -> AsyncIterator[Node]:
    async with running_node(proxy.url(database_url)) as node:
        yield node


async def test_both_hear_the_last_numbers_and_nobody_of_what_is_not_there(node: Node) -> None:
    chat, quiet = await node.add_chat(), await node.add_chat()
    await node.send(chat.client, chat)
    await node.receipts.mark_read(chat.owner, chat.id, 1)
    node.heads.request([chat.id, uuid4(), chat.id])
    await eventually(lambda: node.publisher.of(HeadMoved) != [])
    people = (chat.client.user_id, chat.owner.user_id)
    assert node.publisher.of(HeadMoved) == [HeadMoved(chat.id, 1, 2, people)]
    node.heads.request([quiet.id])
    await eventually(lambda: len(node.publisher.of(HeadMoved)) == 2)
    assert node.publisher.of(HeadMoved)[1].last_seq == 0


async def test_counters_are_told_as_they_are_now_and_to_those_alone_who_may_be_wrong(
    node: Node,
) -> None:
    chat, other = await node.add_chat(), await node.add_chat()
    for one in (chat, chat, other):
        await node.send(one.client, one)
    (_, chats, others) = node.publisher.of(UnreadChanged)
    node.publisher.clear()
    node.counters.request(
        [
            (chat.owner.user_id, chat.id),
            (other.owner.user_id, other.id),
            (other.owner.user_id, chat.id),  # no part of it
            (uuid4(), uuid4()),
        ]
    )
    await eventually(lambda: node.publisher.events != [])
    told = {event.user_id: event for event in node.publisher.of(UnreadChanged)}
    assert told == {event.user_id: replace(event, is_local=True) for event in (chats, others)}
    assert len(node.publisher.events) == 2


async def test_it_waits_until_the_database_is_back(node: Node, proxy: Proxy) -> None:
    one, two = await node.add_chat(), await node.add_chat()
    proxy.refuse()
    node.heads.request([one.id])
    node.heads.request([two.id])
    proxy.heal()
    await eventually(lambda: len(node.publisher.of(HeadMoved)) == 2)


async def test_what_is_requested_again_while_it_is_read_is_read_again(
    node: Node, database_url: str
) -> None:
    chat = await node.add_chat()
    async with held_open(database_url, "LOCK TABLE chat.conversations") as lock:
        node.heads.request([chat.id])
        await until_someone_waits(lock)
        node.heads.request([chat.id])
    await eventually(lambda: len(node.publisher.of(HeadMoved)) == 2)


async def test_closing_gives_up_what_cannot_be_told(node: Node, proxy: Proxy) -> None:
    chat = await node.add_chat()
    proxy.refuse()
    node.heads.request([chat.id])
    node.heads.request([])
    await node.heads.close()
    assert node.publisher.of(HeadMoved) == []
