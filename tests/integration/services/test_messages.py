"""Messages: sending under every repetition and crowd, history, edits and tombstones."""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

import pytest

from chatserver.errors import (
    Forbidden,
    InvalidPayload,
    NotFound,
    Unavailable,
)
from chatserver.events import (
    HeadMoved,
    MessageDeleted,
    MessageUpdated,
    UnreadChanged,
)
from chatserver.models import Message, MessageType, Role
from tests.integration.conftest import MEDIA
from tests.kit.proxy import postgres_upstream, running_proxy
from tests.kit.recount import find_faults
from tests.kit.services import Chat, Node, connected, running_node, until_someone_waits
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually


@pytest.fixture
async def chat(node: Node) -> Chat:
    chat = await node.add_chat()
    node.publisher.clear()
    return chat


# Reading


async def test_history_is_the_same_by_every_kind_of_page(node: Node, chat: Chat) -> None:
    sent = [await node.send(chat.people[n % 2], chat, str(n)) for n in range(25)]
    get = node.messages.history
    down: list[Message] = []
    while True:
        before = down[-1].seq if down else None
        page = await get(chat.owner, chat.id, limit=7, before_seq=before)
        down += page.messages
        if not page.has_more:
            break
    assert down == sent[::-1]
    assert await node.all_messages(chat.client, chat) == sent
    by_time = await get(chat.client, chat.id, limit=100, before=sent[10].created_at)
    assert list(by_time.messages) == sent[9::-1]
    skipped = await get(chat.client, chat.id, limit=5, skip=20)
    assert list(skipped.messages) == sent[4::-1]
    assert not skipped.has_more
    exact = await get(chat.client, chat.id, limit=25)
    assert (len(exact.messages), exact.has_more) == (25, False)
    assert (await get(chat.client, chat.id, limit=24)).has_more
    after = await get(chat.client, chat.id, limit=3, after_seq=5)
    assert [each.seq for each in after.messages] == [6, 7, 8]
    for nothing in ({"before_seq": 1}, {"after_seq": 25}, {"skip": 25}):
        assert (await get(chat.client, chat.id, limit=5, **nothing)).messages == []  # type: ignore[arg-type]


async def test_history_and_messages_are_the_participants_and_the_hosts(
    node: Node, chat: Chat
) -> None:
    message = await node.send(chat.client, chat)
    stranger, admin = await node.add_user(Role.AGENT), await node.add_user(Role.ADMIN)
    with pytest.raises(NotFound):
        await node.messages.history(stranger, chat.id, limit=5)
    with pytest.raises(NotFound):
        await node.messages.get(stranger, message.id)
    assert await node.messages.get(admin, message.id) == message
    assert (await node.messages.history(admin, chat.id, limit=5)).messages == [message]
    assert (await node.messages.history(chat.owner, (await node.add_chat(
        owner=chat.owner)).id, limit=5)).messages == []  # fmt: skip


# Editing


async def edits_of(node: Node, message: Message) -> list[Any]:
    """What edits and deletion replaced, in order."""
    query = "SELECT * FROM chat.message_edits WHERE message_id = :id ORDER BY rev"
    rows: list[Any] = await node.sql(query, id=message.id)
    return rows


async def test_an_edit_replaces_the_text_and_keeps_what_it_was(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat, "first")
    await node.send(chat.owner, chat, "answer")
    changed = "SELECT changed_xid::text FROM chat.conversations WHERE id = :id"
    xid = await node.value(changed, id=chat.id)
    edited = await node.messages.edit(chat.client, message.id, " second ")
    assert (edited.id, edited.seq, edited.content, edited.rev) == (message.id, 1, "second", 3)
    assert edited.created_at == message.created_at < (edited.edited_at or message.created_at)
    assert edited.updated_at == edited.edited_at
    assert await node.messages.get(chat.owner, message.id) == edited
    view = await node.view(chat.owner, chat)
    assert (view.rev, view.last_seq, view.updated_at) == (3, 2, edited.edited_at)
    assert int(await node.value(changed, id=chat.id)) > int(xid)
    (kept,) = await edits_of(node, message)
    assert (kept.content, kept.message_id, kept.rev, kept.seq) == ("first", message.id, 3, 1)
    assert not kept.is_delete
    (event,) = node.publisher.of(MessageUpdated)
    assert event.message == edited
    assert set(event.member_ids) == {each.user_id for each in chat.people}
    assert await find_faults(node.database) == {}


async def test_the_same_text_again_changes_nothing(node: Node, chat: Chat) -> None:
    message = await node.send(chat.client, chat, "same")
    assert await node.messages.edit(chat.client, message.id, "same ") == message
    assert node.publisher.of(MessageUpdated) == []
    assert (await node.view(chat.client, chat)).rev == 1


async def test_only_its_sender_edits_a_text_in_time(own_node: Node) -> None:
    node, chat = own_node, await own_node.add_chat()
    message = await node.send(chat.client, chat)
    image = await node.send(
        chat.client, chat, "a", message_type=MessageType.IMAGE, media_url=MEDIA + "a"
    )
    admin, stranger = await node.add_user(Role.ADMIN), await node.add_user()
    deleted = await node.send(chat.client, chat)
    await node.messages.delete(chat.client, deleted.id)
    for who, what, error in (
        (chat.owner, message.id, Forbidden),
        (admin, message.id, Forbidden),
        (stranger, message.id, NotFound),
        (chat.client, uuid4(), NotFound),
        (chat.client, image.id, Forbidden),
        (chat.client, deleted.id, Forbidden),
    ):
        with pytest.raises(error):
            await node.messages.edit(who, what, "changed")
    with pytest.raises(InvalidPayload):
        await node.messages.edit(chat.client, message.id, " ")
    await aged(node, message, seconds=860)
    await node.messages.edit(chat.client, message.id, "just in time")
    await aged(node, message, seconds=50)
    with pytest.raises(Forbidden):
        await node.messages.edit(chat.client, message.id, "too late")
    assert len(node.publisher.of(MessageUpdated)) == 1


async def aged(node: Node, message: Message, *, seconds: float) -> None:
    """Let a message, and with it its conversation, be older than it is."""
    past = f"interval '{seconds} seconds'"
    await node.sql(
        f"UPDATE chat.messages SET created_at = created_at - {past} WHERE id = :id", id=message.id
    )
    await node.sql(
        f"UPDATE chat.conversations SET created_at = created_at - {past} WHERE id = :id",
        id=message.conversation_id,
    )


async def test_edits_at_once_over_two_nodes_each_get_a_number(
    node: Node, other_node: Node, chat: Chat
) -> None:
    message = await node.send(chat.client, chat, "original")
    edits = await asyncio.gather(
        *(
            (node, other_node)[n % 2].messages.edit(chat.client, message.id, f"edit {n}")
            for n in range(10)
        ),
        *(node.send(chat.owner, chat) for _ in range(5)),
    )
    revs = [each.rev for each in edits]
    assert sorted(revs) == list(range(2, 17))
    last = max(edits[:10], key=lambda each: each.rev)
    assert (await node.messages.get(chat.owner, message.id)).content == last.content
    kept = await edits_of(node, message)
    in_order = sorted(edits[:10], key=lambda each: each.rev)
    assert [row.content for row in kept] == ["original", *(each.content for each in in_order[:-1])]
    assert await find_faults(node.database) == {}


# Deleting


async def test_a_deleted_message_is_a_tombstone_with_its_number(node: Node, chat: Chat) -> None:
    message = await node.send(
        chat.client, chat, "secret", message_type=MessageType.IMAGE, media_url=MEDIA + "a"
    )
    await node.messages.edit(chat.client, (await node.send(chat.client, chat, "b")).id, "c")
    await node.messages.delete(chat.client, message.id)
    tombstone = await node.messages.get(chat.owner, message.id)
    assert (tombstone.content, tombstone.media_url, tombstone.is_deleted) == ("", None, True)
    assert (tombstone.seq, tombstone.rev) == (1, 4)
    assert tombstone.edited_at is None
    (event,) = node.publisher.of(MessageDeleted)
    assert event.message == tombstone
    (kept,) = [row for row in await edits_of(node, message) if row.is_delete]
    assert (kept.content, kept.media_url, kept.seq) == ("secret", MEDIA + "a", 1)
    # Once more changes nothing.
    await node.messages.delete(chat.client, message.id)
    assert len(node.publisher.of(MessageDeleted)) == 1
    assert (await node.view(chat.client, chat)).rev == 4
    assert await find_faults(node.database) == {}


async def test_only_its_sender_deletes_and_at_any_time(own_node: Node) -> None:
    node, chat = own_node, await own_node.add_chat()
    message = await node.send(chat.client, chat)
    admin, stranger = await node.add_user(Role.ADMIN), await node.add_user()
    for who, error in ((chat.owner, Forbidden), (admin, Forbidden), (stranger, NotFound)):
        with pytest.raises(error):
            await node.messages.delete(who, message.id)
    await aged(node, message, seconds=5000)
    await node.messages.delete(chat.client, message.id)
    assert (await node.messages.get(chat.owner, message.id)).is_deleted


async def test_a_deleted_message_is_unread_no_more(node: Node, chat: Chat) -> None:
    read, unread, kept = [await node.send(chat.client, chat, str(n)) for n in range(3)]
    await node.receipts.mark_read(chat.owner, chat.id, 1)
    node.publisher.clear()
    await node.messages.delete(chat.client, read.id)
    assert node.publisher.of(UnreadChanged) == []
    await node.messages.delete(chat.client, unread.id)
    (event,) = node.publisher.of(UnreadChanged)
    assert (event.user_id, event.unread_count, event.total_unread_count) == (
        chat.owner.user_id, 1, 1,
    )  # fmt: skip
    assert (await node.view(chat.owner, chat)).unread_count == 1
    assert await node.receipts.mark_read(chat.owner, chat.id, kept.seq) == 0
    assert await find_faults(node.database) == {}


async def test_deletes_at_once_count_once(node: Node, other_node: Node, chat: Chat) -> None:
    messages = [await node.send(chat.client, chat, str(n)) for n in range(4)]
    await asyncio.gather(
        *(
            each.messages.delete(chat.client, message.id)
            for message in messages
            for each in (node, other_node)
        )
    )
    assert await node.receipts.unread_total(chat.owner) == 0
    assert (await node.view(chat.owner, chat)).rev == 8
    assert await find_faults(node.database) == {}


async def test_after_a_commit_that_was_cut_off_the_participants_are_told_to_look(
    database_url: str,
) -> None:
    async with (
        running_proxy(postgres_upstream(database_url)) as proxy,
        running_node(proxy.url(database_url)) as node,
    ):
        chat = await node.add_chat()
        message = await node.send(chat.client, chat, "before")
        proxy.cut_after(b"COMMIT;")
        with pytest.raises(Unavailable):
            await node.messages.edit(chat.client, message.id, "after")
        assert node.publisher.of(MessageUpdated) == []
        await eventually(lambda: node.publisher.of(HeadMoved) != [])
        (head,) = node.publisher.of(HeadMoved)
        assert (head.last_seq, head.rev) == (1, 2)
        # The retry finds that it is done.
        assert (await node.messages.edit(chat.client, message.id, "after")).rev == 2


async def test_a_caller_who_goes_in_the_middle_of_an_edit_leaves_no_lock(
    node: Node, chat: Chat
) -> None:
    message = await node.send(chat.client, chat)
    for n in range(20):
        task = asyncio.create_task(node.messages.edit(chat.client, message.id, f"edit {n}"))
        await asyncio.sleep(n / 2000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(PATIENCE):
        await node.send(chat.owner, chat)
    # The hints of edits that were cut off may still be on their way.
    await eventually(lambda: node.database.connections_in_use() == 0)
    faults = await find_faults(node.database)
    assert faults == {}


async def test_closing_while_an_edit_or_a_delete_waits_wins(
    node: Node, chat: Chat, database_url: str
) -> None:
    """Line 9 of what one account can do: a closed conversation takes nothing any more."""
    edited, deleted, gone = [await node.send(chat.client, chat, str(n)) for n in range(3)]
    await node.messages.edit(chat.client, edited.id, "before")
    await node.messages.delete(chat.client, gone.id)
    node.publisher.clear()
    async with connected(database_url) as host, connected(database_url) as watcher:
        await host.execute("BEGIN")
        await host.execute("UPDATE chat.conversations SET is_active = false")
        waiting = [
            asyncio.create_task(node.messages.edit(chat.client, edited.id, "after")),
            asyncio.create_task(node.messages.delete(chat.client, deleted.id)),
        ]
        await until_someone_waits(watcher, 2)
        await host.execute("COMMIT")
    for each in waiting:
        with pytest.raises(Forbidden, match="closed"):
            await each
    assert node.publisher.events == []
    # What is so already may be said again, by whoever lost the answer.
    assert (await node.messages.edit(chat.client, edited.id, "before")).content == "before"
    await node.messages.delete(chat.client, gone.id)
    # Reading goes on.
    assert await node.receipts.mark_read(chat.owner, chat.id, 3) == 0
    assert [message.content for message in await node.all_messages(chat.owner, chat)] == [
        "before", "1", "",
    ]  # fmt: skip


async def test_an_edit_waits_for_the_conversation_and_not_for_others(
    node: Node, chat: Chat, database_url: str
) -> None:
    other = await node.add_chat()
    mine = await node.send(chat.client, chat)
    theirs = await node.send(other.client, other)
    async with connected(database_url) as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM chat.conversations WHERE id = $1 FOR UPDATE", chat.id)
        waiting = asyncio.create_task(node.messages.edit(chat.client, mine.id, "x"))
        await node.messages.edit(other.client, theirs.id, "y")
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await holder.execute("COMMIT")
        assert (await waiting).content == "x"
