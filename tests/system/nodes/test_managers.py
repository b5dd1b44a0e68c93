"""python-socketio's managers on two nodes: what one is told happens to the clients of both.

The clients are python-socketio's own, one on each node. The last test holds that no
public method of the installed version is left out.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import socketio  # type: ignore[import-untyped]

from chatserver.dev.redis import EmbeddedRedis
from chatserver.realtime.participants import Unsupported
from chatserver.realtime.python_socketio import AsyncServer, Manager, RedisManager
from tests.kit.app import Person
from tests.kit.postgres import Databases
from tests.kit.waiting import eventually
from tests.system.nodes.town import Town, running_town

Test = TypeVar("Test", bound=Callable[..., Any])
TESTED: set[str] = set()


def about(*names: str) -> Callable[[Test], Test]:
    """Mark which methods a test is about."""
    TESTED.update(names)
    return lambda test: test


@dataclass
class Guest:
    """A client of python-socketio's, with all that it heard but the chat's own events."""

    server: AsyncServer
    """The node that it is on."""
    manager: RedisManager
    client: Any = field(default_factory=socketio.AsyncClient)
    heard: list[Any] = field(default_factory=list)

    async def connect(self, url: str, person: Person) -> None:
        for event in ("news", "ask"):
            self.client.on(event, self._hear)
        await self.client.connect(url, auth={"token": person.token()}, transports=["websocket"])

    async def _hear(self, *args: Any) -> Any:
        self.heard.append(args)
        return args

    @property
    def sid(self) -> str:
        sid: str = self.client.get_sid()
        return sid

    @property
    def rooms(self) -> set[str]:
        """Those that it was put into by a test."""
        return {room for room in self.server.rooms(self.sid) if room.startswith("test")}


@dataclass
class Guests:
    """One on the first node and one on the second."""

    one: Guest
    two: Guest

    async def heard(self) -> tuple[list[Any], list[Any]]:
        """What each was sent since it was last asked, up to a last event."""
        both = (self.one, self.two)
        for teller in both:
            await teller.manager.emit("news", "end", room=[guest.sid for guest in both])
        await eventually(lambda: [guest.heard.count(("end",)) for guest in both] == [2, 2])
        taken = [[each for each in guest.heard if each != ("end",)] for guest in both]
        for guest in both:
            guest.heard.clear()
        return taken[0], taken[1]


@pytest.fixture(scope="module")
async def town(databases: Databases, redis_server: EmbeddedRedis) -> AsyncIterator[Town]:
    async with (
        databases.migrated() as url,
        running_town(url, redis_server.port, redis__prefix="managers") as running,
    ):
        yield running


@pytest.fixture
async def guests(town: Town) -> AsyncIterator[Guests]:
    opened = []
    for running, person in zip(town.nodes, town.chat.people, strict=True):
        manager = running.node.manager
        assert isinstance(manager, RedisManager)
        guest = Guest(running.node.server, manager)
        await guest.connect(running.base_url, person)
        opened.append(guest)
    yield Guests(*opened)
    for guest in opened:
        await guest.client.disconnect()


@about("emit")
async def test_an_event_reaches_the_clients_of_every_node(guests: Guests) -> None:
    one, two = guests.one, guests.two
    await one.server.emit("news", 1)
    await one.manager.emit("news", 2, room=two.sid)
    await one.server.emit("news", (3, "x"), to=[one.sid, two.sid], skip_sid=one.sid)
    await one.server.emit("news", 4, ignore_queue=True)
    await one.server.emit("news")
    assert await guests.heard() == ([(1,), (4,), ()], [(1,), (2,), (3, "x"), ()])


@about("enter_room", "leave_room", "close_room", "get_rooms")
async def test_clients_of_another_node_enter_and_leave_rooms(guests: Guests) -> None:
    one, two = guests.one, guests.two
    for guest in (one, two):
        await one.server.enter_room(guest.sid, "test 1")
        await one.manager.enter_room(guest.sid, "/", "test 2")
    await eventually(lambda: one.rooms == two.rooms == {"test 1", "test 2"})
    assert one.manager.get_rooms(two.sid, "/") == []  # it knows of its own clients alone
    await two.server.emit("news", 1, room="test 1")
    assert await guests.heard() == ([(1,)], [(1,)])
    await one.manager.leave_room(two.sid, "/", "test 1")
    await one.server.leave_room(one.sid, "test 1")
    await eventually(lambda: one.rooms == two.rooms == {"test 2"})
    await two.server.emit("news", 2, room="test 1")
    await two.server.close_room("test 2")
    await eventually(lambda: one.rooms == two.rooms == set())
    assert await guests.heard() == ([], [])


@about("trigger_callback")
async def test_a_client_of_another_node_acknowledges(guests: Guests) -> None:
    one, two = guests.one, guests.two
    for guest in (one, two):
        assert await one.server.call("ask", ("a", 1), to=guest.sid) == ("a", 1)
    answers: list[Any] = []
    await one.server.enter_room(two.sid, "test")
    await eventually(lambda: two.rooms == {"test"})
    await one.server.emit("ask", 2, room="test", callback=answers.append)
    await eventually(lambda: answers == [2])
    assert one.manager.callbacks == two.manager.callbacks == {}
    with pytest.raises(ValueError, match="without a room"):
        await one.server.emit("ask", 3, callback=print)
    with pytest.raises(TypeError, match="one client"):
        await one.server.emit("ask", 3, room=[one.sid, two.sid], callback=print)


@about("disconnect", "can_disconnect")
@pytest.mark.parametrize("through", ["server", "manager"])
async def test_a_client_of_another_node_is_disconnected(guests: Guests, through: str) -> None:
    one, two = guests.one, guests.two
    reasons: list[str] = []
    two.client.on("disconnect", reasons.append)
    if through == "server":
        assert await one.manager.can_disconnect(one.sid, "/")
        await one.server.disconnect(two.sid, ignore_queue=True)  # of this node there is none
        await one.server.disconnect(two.sid)
    else:
        await one.manager.disconnect(two.sid, "/")
    await eventually(lambda: not two.client.connected)
    assert reasons == ["server disconnect"]
    assert one.client.connected
    await one.manager.disconnect(one.sid, "/", ignore_queue=True)
    await eventually(lambda: not one.client.connected)


@about("get_namespaces", "get_participants", "is_connected", "is_pre_connected", "is_sid_room")
@about("eio_sid_from_sid", "sid_from_eio_sid")
@about("basic_enter_room", "basic_leave_room", "basic_close_room")
async def test_a_manager_knows_the_clients_of_its_node(guests: Guests) -> None:
    one, manager = guests.one, guests.one.manager
    assert manager.get_namespaces() == ["/"]
    eio_sid = manager.eio_sid_from_sid(one.sid, "/")
    assert eio_sid is not None
    assert manager.sid_from_eio_sid(eio_sid, "/") == one.sid
    assert manager.is_connected(one.sid, "/")
    assert not manager.is_pre_connected(one.sid, "/")
    assert manager.is_sid_room("/", one.sid)
    manager.basic_enter_room(one.sid, "/", "test 1")
    manager.basic_enter_room(one.sid, "/", "test 2")
    for room in ("test 1", one.sid, ["test 1", "test 2"]):
        assert list(manager.get_participants("/", room)) == [(one.sid, eio_sid)]
    assert (one.sid, eio_sid) in manager.get_participants("/", None)
    manager.basic_leave_room(one.sid, "/", "test 1")
    manager.basic_close_room("test 2", "/")
    assert one.rooms == set()
    for sid, namespace in ((guests.two.sid, "/"), (one.sid, "/other")):
        assert not manager.is_connected(sid, namespace)
        assert not manager.is_sid_room(namespace, sid)
        assert manager.eio_sid_from_sid(sid, namespace) is None
        assert manager.get_rooms(sid, namespace) == []
        assert list(manager.get_participants(namespace, sid)) == []
    with pytest.raises(ValueError, match="not connected"):
        manager.basic_enter_room(guests.two.sid, "/", "test")


@about("connect", "pre_connect", "pre_disconnect", "basic_disconnect", "initialize", "set_server")
async def test_clients_are_connected_by_nobody_else(guests: Guests) -> None:
    """`initialize` and `set_server` are called by the server, once: the others would not work."""
    manager: Any = guests.one.manager
    assert manager.server is guests.one.server
    for call in (manager.connect, manager.pre_connect):
        with pytest.raises(Unsupported, match="by themselves"):
            await call(guests.one.sid, "/")
    for call in (manager.pre_disconnect, manager.basic_disconnect):
        with pytest.raises(Unsupported, match="by themselves"):
            call(guests.one.sid, "/")


async def test_a_manager_that_cannot_follow_says_so(guests: Guests) -> None:
    """What another node sends is no reason to stop: neither too much nor what is of no use."""
    manager = guests.two.manager
    for message in (
        b"{}",
        b"null",
        b'{"method":"emit"}',
        b'{"method":"emit","event":"e","room":7}',
    ):
        manager.receive("socketio", message)
    await asyncio.sleep(0)
    await guests.one.server.emit("news", 1)
    assert await guests.heard() == ([(1,)], [(1,)])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(RedisManager, socketio.AsyncRedisManager), (Manager, socketio.AsyncManager)],
)
async def test_no_public_method_of_the_installed_version_is_left_out(
    ours: type, theirs: type
) -> None:
    assert issubclass(ours, theirs)
    names = {name for name, _ in inspect.getmembers(theirs, inspect.isroutine)}
    assert {name for name in names if not name.startswith("_")} <= TESTED
