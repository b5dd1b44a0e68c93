"""Typing: told to the room, and taken back when the socket leaves or is gone."""

import asyncio
from uuid import UUID, uuid4

import pytest

from chatserver.db.engine import Database, create_engine
from chatserver.errors import Forbidden, NotFound
from chatserver.events import TypingChanged
from chatserver.services.typing import REPEAT_AFTER, TypingService
from tests.kit.services import Node, RecordingPublisher, principal

NOBODY = "postgresql://chat@127.0.0.1:1/chat"

ME = principal(uuid4())
HERE, THERE = uuid4(), uuid4()


class Room:
    """Without a database: then each conversation is taken to be open."""

    def __init__(self) -> None:
        self.publisher = RecordingPublisher()
        self.typing = TypingService(Database(create_engine(NOBODY, pool_size=1)), self.publisher)

    async def types(self, where: UUID = HERE, socket: str = "a", *, is_typing: bool = True) -> None:
        await self.typing.set_typing(ME, where, socket, is_typing=is_typing)

    @property
    def told(self) -> list[tuple[object, bool]]:
        return [(each.conversation_id, each.is_typing) for each in self.publisher.of(TypingChanged)]


@pytest.mark.virtual_time
async def test_the_room_is_told_of_a_flood_once() -> None:
    room = Room()
    for _ in range(100):
        await room.types()
    assert room.told == [(HERE, True)]
    for _ in range(100):
        await room.types(is_typing=False)
        await room.types()
    assert room.told == [(HERE, True), (HERE, False)]
    await room.types(THERE)
    await room.types(socket="other")
    assert room.told[2:] == [(THERE, True), (HERE, True)]


@pytest.mark.virtual_time
async def test_who_goes_on_typing_is_told_of_once_in_three_seconds() -> None:
    room = Room()
    for _ in range(100):
        await room.types()
        await asyncio.sleep(0.1)
    assert room.told == [(HERE, True)] * 4  # after 0, 3, 6 and 9 s


@pytest.mark.virtual_time
async def test_who_stopped_meanwhile_is_told_of_only_when_typing_again() -> None:
    room = Room()
    for is_typing in (True, False, True, False):
        await room.types(is_typing=is_typing)
    await asyncio.sleep(REPEAT_AFTER + 1)
    assert room.told == [(HERE, True), (HERE, False)]
    await room.types()
    assert room.told[2:] == [(HERE, True)]


@pytest.mark.virtual_time
async def test_what_is_due_of_a_socket_that_is_gone_is_not_told() -> None:
    room = Room()
    await room.types()
    await room.types()
    room.typing.disconnected(ME, "a")
    await asyncio.sleep(REPEAT_AFTER + 1)
    assert room.told == [(HERE, True), (HERE, False)]


async def test_each_word_of_a_socket_is_told_to_the_room() -> None:
    room = Room()
    await room.types()
    await room.types(is_typing=False)
    assert room.told == [(HERE, True), (HERE, False)]
    (event, _) = room.publisher.of(TypingChanged)
    assert event.user_id == ME.user_id
    assert event.timestamp.tzinfo is not None


async def test_a_socket_that_vanishes_stops_typing_everywhere_once() -> None:
    room = Room()
    await room.types()
    await room.types()
    await room.types(THERE)
    await room.types(socket="other")
    room.publisher.clear()
    room.typing.disconnected(ME, "a")
    room.typing.disconnected(ME, "a")
    assert set(room.told) == {(HERE, False), (THERE, False)}
    assert len(room.told) == 2


async def test_leaving_a_room_stops_typing_in_it_alone() -> None:
    room = Room()
    await room.types()
    await room.types(THERE)
    room.publisher.clear()
    room.typing.left(ME, HERE, "a")
    room.typing.left(ME, HERE, "a")
    assert room.told == [(HERE, False)]
    room.typing.disconnected(ME, "a")
    assert room.told[1:] == [(THERE, False)]


async def test_who_stopped_or_never_typed_has_nothing_to_take_back() -> None:
    room = Room()
    await room.types()
    await room.types(is_typing=False)
    await room.types(THERE, is_typing=False)
    room.publisher.clear()
    room.typing.left(ME, HERE, "a")
    room.typing.disconnected(ME, "a")
    room.typing.disconnected(ME, "never seen")
    assert room.told == []


@pytest.mark.virtual_time
async def test_nothing_is_kept_of_sockets_that_are_gone_or_quiet() -> None:
    room = Room()
    for number in range(100):
        await room.types(socket=str(number))
        await room.types(uuid4(), socket=str(number))
        room.typing.disconnected(ME, str(number))
        await room.types(socket=f"quiet {number}")
        await room.types(socket=f"quiet {number}", is_typing=False)
    await asyncio.sleep(REPEAT_AFTER + 1)
    assert room.typing._typing == {}


async def test_nobody_types_in_a_closed_conversation(node: Node) -> None:
    chat, other = await node.add_chat(), await node.add_chat()
    typing = TypingService(node.database, node.publisher, believed_for=0.0)
    for each in (chat, other):
        await typing.set_typing(each.client, each.id, "a", is_typing=True)
    await node.sql("UPDATE chat.conversations SET is_active = false WHERE id = :id", id=chat.id)
    node.publisher.clear()
    for is_typing in (True, False):
        with pytest.raises(Forbidden):
            await typing.set_typing(chat.client, chat.id, "a", is_typing=is_typing)
    # What the room was told before is taken back, once.
    (event,) = node.publisher.of(TypingChanged)
    assert (event.conversation_id, event.is_typing) == (chat.id, False)
    assert event.member_ids == tuple(person.user_id for person in chat.people)
    await typing.set_typing(other.client, other.id, "a", is_typing=True)
    await node.sql("UPDATE chat.conversations SET is_active = true WHERE id = :id", id=chat.id)
    await typing.set_typing(chat.client, chat.id, "a", is_typing=True)


async def test_a_stranger_whose_socket_is_still_in_the_room_types_no_more(node: Node) -> None:
    chat, stranger = await node.add_chat(), await node.add_user()
    with pytest.raises(NotFound):
        await node.typing.set_typing(stranger, chat.id, "a", is_typing=True)
    assert node.publisher.of(TypingChanged) == []


async def test_who_goes_on_typing_asks_the_database_no_more(own_node: Node) -> None:
    chat = await own_node.add_chat()
    typing = TypingService(own_node.database, own_node.publisher, believed_for=600.0)
    await typing.set_typing(chat.client, chat.id, "a", is_typing=True)
    await own_node.sql("ALTER TABLE chat.conversations RENAME TO hidden")
    own_node.publisher.clear()
    for number in range(100):
        await typing.set_typing(chat.owner, chat.id, str(number), is_typing=True)
    assert len(own_node.publisher.of(TypingChanged)) == 100
