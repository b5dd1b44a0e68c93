"""Fan-out: who gets an event, how many copies, and what is kept of it."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from chatserver.realtime.room_names import conversation_room, user_room
from chatserver.sio.adapter import EVERYONE
from tests.unit.realtime.wire import Node, running_node

ID = UUID(int=1)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running_node() as running:
        yield running


def test_rooms_are_named_as_the_contract_says() -> None:
    assert user_room(ID) == f"user:{ID}"
    assert conversation_room(str(ID)) == f"conversation:{ID}"


async def test_a_socket_in_several_of_the_rooms_gets_one_copy(node: Node) -> None:
    one, two, three = [await node.connected() for _ in range(3)]
    await node.server.enter_room(one.sid, "a")
    await node.server.enter_room(one.sid, "b")
    await node.server.enter_room(two.sid, "b")
    assert node.adapter.emit_now("e", {"x": 1}, ["a", "b", "nobody"]) == 2
    assert node.adapter.emit_now("last", None, ["a", "b", three.sid]) == 3
    assert [await one.receive(), await one.receive()] == ['42["e",{"x":1}]', '42["last",null]']
    assert [await two.receive(), await two.receive()] == ['42["e",{"x":1}]', '42["last",null]']
    assert await three.receive() == '42["last",null]'


async def test_everyone_is_a_room_that_nobody_enters(node: Node) -> None:
    one, two, gone = [await node.connected() for _ in range(3)]
    await node.server.enter_room(one.sid, "a")
    await node.server.disconnect(gone.sid)
    assert set(node.adapter.select([EVERYONE])) == {one.sid, two.sid}
    assert node.adapter.emit_now("e", 1, [EVERYONE]) == 2
    assert node.adapter.emit_now("e", 2, ["a", EVERYONE, two.sid], skip=[two.sid]) == 1
    assert node.adapter.emit_now("e", 3, [EVERYONE]) == 2
    assert [await one.receive() for _ in range(3)] == [f'42["e",{n}]' for n in (1, 2, 3)]
    assert [await two.receive() for _ in range(2)] == [f'42["e",{n}]' for n in (1, 3)]
    assert node.server.rooms(two.sid) == [two.sid]
    with pytest.raises(ValueError, match="everyone"):
        await node.server.enter_room(one.sid, EVERYONE)


async def test_skipped_sockets_get_nothing(node: Node) -> None:
    one, two = await node.connected(), await node.connected()
    for client in (one, two):
        await node.server.enter_room(client.sid, "a")
    assert node.adapter.emit_now("e", 1, ["a"], skip=[one.sid]) == 1
    assert await two.receive() == '42["e",1]'
    assert (await one.call("x"))["ok"] is True


async def test_python_socketios_emit_does_the_same(node: Node) -> None:
    one, two = await node.connected(), await node.connected()
    await node.server.enter_room(one.sid, "a")
    await node.server.emit("e", 1, to="a")
    await node.server.emit("e", 2, room=["a", two.sid], skip_sid=two.sid)
    await node.server.emit("e", 3)
    await node.script.emit("e", 5, to=two.sid)
    assert [await one.receive() for _ in range(3)] == [f'42["e",{n}]' for n in (1, 2, 3)]
    assert [await two.receive() for _ in range(2)] == [f'42["e",{n}]' for n in (3, 5)]


async def test_what_json_cannot_hold_is_the_callers_error(node: Node) -> None:
    client = await node.connected()
    with pytest.raises(TypeError):
        node.adapter.emit_now("e", object(), [client.sid])


async def test_membership_is_what_entering_and_leaving_make_it(node: Node) -> None:
    one, two = await node.connected(), await node.connected()
    server = node.server
    for client in (one, two):
        await server.enter_room(client.sid, "a")
    await server.enter_room(one.sid, "b")
    assert server.rooms(one.sid) == [one.sid, "a", "b"]
    assert sorted(sid for sid, _ in server.manager.get_participants("/", "a")) == sorted(
        [one.sid, two.sid]
    )
    await server.leave_room(one.sid, "a")
    await server.leave_room(one.sid, "never entered")
    assert server.rooms(one.sid) == [one.sid, "b"]
    await server.close_room("a")
    assert node.adapter.emit_now("e", 1, ["a"]) == 0
    assert set(node.adapter._members) == {"b"}
    with pytest.raises(ValueError, match="sid room"):
        await server.enter_room(one.sid, two.sid)
    with pytest.raises(ValueError, match="not connected"):
        await server.enter_room("nobody", "a")


async def test_a_disconnect_empties_the_rooms_of_that_socket_alone(node: Node) -> None:
    one, two = await node.connected(), await node.connected()
    for client in (one, two):
        await node.server.enter_room(client.sid, "a")
    await one.ws.close()
    await node.server.disconnect(one.sid)
    assert node.adapter.emit_now("e", 1, ["a"]) == 1
    assert await two.receive() == '42["e",1]'


async def test_only_the_default_namespace_has_anyone(node: Node) -> None:
    client = await node.connected()
    manager = node.server.manager
    assert manager.is_connected(client.sid, "/")
    assert not manager.is_connected(client.sid, "/other")
    assert manager.get_rooms(client.sid, "/other") == []
    assert list(manager.get_participants("/other", client.sid)) == []
    assert list(manager.get_namespaces()) == ["/"]
