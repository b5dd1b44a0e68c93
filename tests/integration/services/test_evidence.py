"""Evidence (line 55 of the bad input): who is deleted takes nothing of the others along."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chatserver.errors import NotFound, Unauthorized
from chatserver.models import Conversation, MessageStatus, User
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, until_someone_waits
from tests.kit.stalls import PATIENCE

GO = "DELETE FROM core.users WHERE id = :id"


@pytest.fixture
def database_url(own_database_url: str) -> str:
    """What vanished is looked for in all tables."""
    return own_database_url


@pytest.fixture
def node(own_node: Node) -> Node:
    return own_node


@pytest.fixture
async def chat(node: Node) -> Chat:
    """With words of both, an edit, a tombstone, and receipts that stop half way."""
    chat = await node.add_chat()
    for number in range(6):
        await node.send(chat.people[number % 2], chat, str(number))
    first, second, *_ = await node.all_messages(chat.client, chat)
    await node.messages.edit(chat.client, first.id, "edited")
    await node.messages.delete(chat.owner, second.id)
    await node.receipts.mark_read(chat.owner, chat.id, 3)
    await node.receipts.mark_delivered(chat.client, chat.id, 4)
    for person in chat.people:
        await node.presence.connected(person.user_id, "socket")
    await node.presence.close()
    return chat


async def held_by(node: Node, chat: Chat, person: Any) -> tuple[Any, ...]:
    listed = await node.conversations.list(person, limit=5)
    return (
        [nameless(each) for each in listed.conversations],
        nameless(await node.view(person, chat)),
        await node.all_messages(person, chat),
        await node.receipts.unread_total(person),
        await node.sql("SELECT * FROM chat.receipts ORDER BY rev"),
        await node.sql("SELECT * FROM chat.message_edits ORDER BY rev"),
        await node.sql("SELECT * FROM chat.participants ORDER BY user_id"),
        await node.sql("SELECT * FROM chat.unread_totals ORDER BY user_id"),
    )


def nameless(view: Conversation) -> Conversation:
    """Without what the host's own tables say, which goes with their rows."""
    return replace(
        view,
        listing_id=None,
        listing=replace(view.listing, id=None),
        client=User(view.client.id, None, None, None),
        owner=User(view.owner.id, None, None, None),
        participants=[
            replace(each, first_name=None, last_name=None, profile_picture_url=None)
            for each in view.participants
        ],
    )


@pytest.mark.parametrize("who", ["client", "owner"])
async def test_a_user_who_is_deleted_leaves_the_others_thread_whole_55(
    node: Node, chat: Chat, who: str
) -> None:
    gone = getattr(chat, who)
    left = chat.other(gone)
    before = await held_by(node, chat, left)
    await node.sql(GO, id=gone.user_id)
    assert await held_by(node, chat, left) == before
    view = await node.view(left, chat)
    assert getattr(view, who).first_name is None
    assert getattr(view, who).id == gone.user_id
    # And it goes on.
    message = await node.send(left, chat, "still here")
    assert (message.seq, message.status) == (7, MessageStatus.SENT)
    await node.messages.edit(left, message.id, "still here, edited")
    await node.receipts.mark_read(left, chat.id, 7)
    await node.conversations.archive(left, chat.id)
    assert await node.receipts.unread_total(left) == 0
    assert await find_faults(node.database) == {}


async def test_what_was_the_persons_own_is_forgotten_within_a_day(node: Node, chat: Chat) -> None:
    await node.sql(
        "INSERT INTO chat.push_notifications (user_id, message_id)"
        " SELECT unnest(ARRAY[CAST(:one AS uuid), :other]), gen_random_uuid()",
        one=chat.client.user_id, other=chat.owner.user_id,
    )  # fmt: skip
    await node.sql(GO, id=chat.client.user_id)
    before = await held_by(node, chat, chat.owner)
    await node.maintenance.forget_vanished()
    for table in ("user_presence", "push_notifications"):
        assert await node.sql(f"SELECT user_id FROM chat.{table}") == [(chat.owner.user_id,)]
    peer = before[1].peer_presence
    assert peer is not None
    for view in (*before[0], before[1]):
        assert view.peer_presence == peer
    after = await held_by(node, chat, chat.owner)
    assert after[2:] == before[2:]
    assert after[1].peer_presence == replace(peer, last_seen_at=None)


async def test_more_vanished_people_than_one_transaction_takes_are_forgotten(node: Node) -> None:
    await node.sql(
        "INSERT INTO chat.user_presence (user_id)"
        " SELECT gen_random_uuid() FROM generate_series(1, 2500)"
    )
    here = await node.add_user()
    await node.presence.connected(here.user_id, "socket")
    await node.presence.close()
    await node.maintenance.forget_vanished()
    assert await node.sql("SELECT user_id FROM chat.user_presence") == [(here.user_id,)]


async def test_the_host_deletes_a_user_whatever_is_locked_here(
    node: Node, chat: Chat, database_url: str
) -> None:
    async with connected(database_url) as busy:
        await busy.execute("BEGIN")
        for table in ("conversations", "participants", "unread_totals", "user_presence"):
            await busy.execute(f"SELECT FROM chat.{table} FOR UPDATE")
        async with connected(database_url, lock_timeout="1ms") as host:
            await host.execute("DELETE FROM core.users WHERE id = $1", chat.client.user_id)
    with pytest.raises(Unauthorized):
        await node.conversations.open(chat.client, (await node.add_chat()).listing_id)


@pytest.mark.parametrize(("who", "error"), [("client", Unauthorized), ("owner", NotFound)])
async def test_nobody_opens_a_conversation_with_somebody_who_is_being_deleted(
    node: Node, database_url: str, who: str, error: type[Exception]
) -> None:
    client, owner = await node.add_user(), await node.add_user()
    people = {"client": client, "owner": owner}
    # Not kept by a listing of theirs.
    await node.sql("ALTER TABLE core.listings DROP CONSTRAINT listings_owner_user_id_fkey")
    listing_id = await node.add_listing(owner)
    async with connected(database_url) as host, connected(database_url) as watcher:
        await host.execute("BEGIN")
        await host.execute("DELETE FROM core.users WHERE id = $1", people[who].user_id)
        opening = asyncio.create_task(node.conversations.open(client, listing_id))
        await until_someone_waits(watcher)
        await host.execute("COMMIT")
    with pytest.raises(error):
        await opening
    assert await node.value("SELECT count(*) FROM chat.conversations") == 0


async def test_somebody_whom_the_host_only_changes_can_be_written_to(
    node: Node, database_url: str
) -> None:
    client, owner = await node.add_user(), await node.add_user()
    listing_id = await node.add_listing(owner)
    async with connected(database_url) as host:
        await host.execute("BEGIN")
        await host.execute("UPDATE core.users SET first_name = 'New'")
        async with asyncio.timeout(PATIENCE):
            assert (await node.conversations.open(client, listing_id))[1]
