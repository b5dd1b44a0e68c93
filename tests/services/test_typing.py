"""Typing: told to the room, and taken back when the socket leaves or is gone."""

from uuid import uuid4

from chatserver.events import TypingChanged
from chatserver.services.typing import TypingService
from tests.kit.services import RecordingPublisher, principal

ME = principal(uuid4())
HERE, THERE = uuid4(), uuid4()


class Room:
    def __init__(self) -> None:
        self.publisher = RecordingPublisher()
        self.typing = TypingService(self.publisher)

    def types(self, where: object = HERE, socket: str = "a", *, is_typing: bool = True) -> None:
        self.typing.set_typing(ME, where, socket, is_typing=is_typing)  # type: ignore[arg-type]

    @property
    def told(self) -> list[tuple[object, bool]]:
        return [(each.conversation_id, each.is_typing) for each in self.publisher.of(TypingChanged)]


def test_each_word_of_a_socket_is_told_to_the_room() -> None:
    room = Room()
    room.types()
    room.types(is_typing=False)
    assert room.told == [(HERE, True), (HERE, False)]
    (event, _) = room.publisher.of(TypingChanged)
    assert event.user_id == ME.user_id
    assert event.timestamp.tzinfo is not None


def test_a_socket_that_vanishes_stops_typing_everywhere_once() -> None:
    room = Room()
    room.types()
    room.types()
    room.types(THERE)
    room.types(socket="other")
    room.publisher.clear()
    room.typing.disconnected(ME, "a")
    room.typing.disconnected(ME, "a")
    assert set(room.told) == {(HERE, False), (THERE, False)}
    assert len(room.told) == 2


def test_leaving_a_room_stops_typing_in_it_alone() -> None:
    room = Room()
    room.types()
    room.types(THERE)
    room.publisher.clear()
    room.typing.left(ME, HERE, "a")
    room.typing.left(ME, HERE, "a")
    assert room.told == [(HERE, False)]
    room.typing.disconnected(ME, "a")
    assert room.told[1:] == [(THERE, False)]


def test_who_stopped_or_never_typed_has_nothing_to_take_back() -> None:
    room = Room()
    room.types()
    room.types(is_typing=False)
    room.types(THERE, is_typing=False)
    room.publisher.clear()
    room.typing.left(ME, HERE, "a")
    room.typing.disconnected(ME, "a")
    room.typing.disconnected(ME, "never seen")
    assert room.told == []


def test_nothing_is_kept_of_sockets_that_are_gone() -> None:
    room = Room()
    for number in range(100):
        room.types(socket=str(number))
        room.types(uuid4(), socket=str(number))
        room.typing.disconnected(ME, str(number))
        room.types(socket=f"quiet {number}")
        room.types(socket=f"quiet {number}", is_typing=False)
    assert room.typing._typing == {}
