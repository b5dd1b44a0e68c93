"""Each method of python-socketio's server and namespace works as documented, or says why not.

The last test holds that none of the installed versions is left out. Managers of several
nodes have their tests where there are several: tests/system/nodes/test_managers.py.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
import pytest_asyncio
import socketio  # type: ignore[import-untyped]
from aiohttp import web

from chatserver.eio.protocol import Reason
from chatserver.realtime.participants import Unsupported
from chatserver.realtime.python_socketio import CALLBACK_TTL, AsyncNamespace, AsyncServer
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, WebSocketClient, running_node

Test = TypeVar("Test", bound=Callable[..., Any])
TESTED: set[str] = set()


def about(*names: str) -> Callable[[Test], Test]:
    """Mark which methods a test is about."""
    TESTED.update(names)
    return lambda test: test


@pytest_asyncio.fixture(params=["server", "namespace"], loop_scope="function")
async def api(node: Node, request: pytest.FixtureRequest) -> Any:
    """The server, and its namespace, whose methods of the same name do the same."""
    return node.server if request.param == "server" else node.script


@pytest_asyncio.fixture(loop_scope="function")
async def bare() -> AsyncIterator[Node]:
    """A node with no namespace's handlers."""
    async with running_node() as running:
        running.server.namespace_handlers.clear()
        yield running


async def ask(client: WebSocketClient, event: str, *args: Any) -> str:
    """The acknowledgement of an event, as it came."""
    await client.send("429" + json.dumps([event, *args]))
    return await client.receive()


# Handlers


@about("on", "event")
async def test_handlers_are_called_as_they_were_registered(bare: Node) -> None:
    sio = bare.server

    @sio.on("both")  # type: ignore[untyped-decorator]
    async def answer_two(sid: str, data: Any) -> tuple[Any, ...]:
        return sid, data

    @sio.event  # type: ignore[untyped-decorator]
    def add(sid: str, one: int, other: int) -> int:
        return one + other

    @sio.event(namespace="/")  # type: ignore[untyped-decorator]
    async def nothing(sid: str) -> None: ...

    async with await bare.connected() as client:
        assert await ask(client, "both", {"a": 1}) == f'439["{client.sid}",{{"a":1}}]'
        assert await ask(client, "add", 1, 2) == "439[3]"
        assert await ask(client, "nothing") == "439[]"
        await client.send('429["unknown"]')  # has no answer, as python-socketio has none
        assert await ask(client, "nothing") == "439[]"
        sio.on("*", lambda event, sid, *args: [event, *args])
        assert await ask(client, "connect", 5) == '439[["connect: reserved",5]]'
        sio.on("*", lambda event, namespace, sid: namespace, namespace="*")
        assert await ask(client, "other") == '439[["other"]]'  # the narrower one first
        del sio.handlers["/"]["*"]
        assert await ask(client, "other") == '439["/"]'
    for register in (sio.on, sio.event):
        with pytest.raises(Unsupported, match="namespace"):
            register("x", namespace="/other")(print)


@about("on")
@pytest.mark.parametrize("is_old", [False, True])
async def test_the_handlers_of_coming_and_going_may_be_of_the_older_form(
    bare: Node, is_old: bool
) -> None:
    seen: list[Any] = []
    if is_old:
        bare.server.on("connect", lambda sid, environ: seen.append(environ["QUERY_STRING"]))
        bare.server.on("disconnect", lambda sid: seen.append(sid))
    else:
        bare.server.on("connect", lambda sid, environ, auth: seen.append(auth))
        bare.server.on("disconnect", lambda sid, reason: seen.append(reason))
    client = await bare.connected(None if is_old else {"token": "x"})
    await client.send("41")
    await eventually(lambda: len(seen) == 2)
    assert seen == (["", client.sid] if is_old else [{"token": "x"}, Reason.CLIENT_DISCONNECT])


def refuse_with_reason(*_: Any) -> None:
    raise socketio.exceptions.ConnectionRefusedError("no", {"code": "x"})


def fail(*_: Any) -> None:
    raise ZeroDivisionError


@about("on")
@pytest.mark.parametrize(
    ("handler", "refusal"),
    [
        (lambda *_: False, {"message": "Connection rejected by server"}),
        (refuse_with_reason, {"message": "no", "data": {"code": "x"}}),
    ],
    ids=["False", "raises"],
)
async def test_a_connect_handler_refuses_as_documented(
    bare: Node, handler: Callable[..., Any], refusal: dict[str, Any]
) -> None:
    bare.server.on("connect", handler)
    client = await bare.websocket()
    await client.receive_hello()
    await client.send("40")
    assert json.loads((await client.receive()).removeprefix("44")) == refusal
    await client.ws.close()
    await bare.until_empty()


@about("on")
async def test_a_handler_that_fails_answers_with_an_error_and_the_next_event_is_handled(
    bare: Node,
) -> None:
    bare.server.on("fails", fail)
    bare.server.on("works", lambda sid: "yes")
    async with await bare.connected() as client:
        failed = json.loads((await ask(client, "fails")).removeprefix("439"))
        assert failed[0]["error"]["code"] == "internal_error"
        assert await ask(client, "works") == '439["yes"]'
    assert bare.counts.errors == ["handler"]


@about("on", "shutdown")
async def test_a_handler_that_is_ended_with_the_node_does_not_answer_as_if_it_was_done(
    bare: Node,
) -> None:
    @bare.server.on("slow")  # type: ignore[untyped-decorator]
    async def wait(sid: str) -> None:
        await asyncio.sleep(60)

    client = await bare.connected()
    await client.send('421["slow"]')
    await asyncio.sleep(0.01)
    await bare.server.shutdown()
    assert await client.receive() == "closed 1012"


class Shop(socketio.AsyncNamespace):  # type: ignore[misc]
    """As in python-socketio's documentation."""

    def on_connect(self, sid: str, environ: Any) -> None: ...

    async def on_order(self, sid: str, data: Any) -> str:
        await self.emit("ordered", data, room=sid)
        return "OK"


@about("register_namespace", "trigger_event", "is_asyncio_based")
async def test_a_namespace_of_the_library_is_served(bare: Node) -> None:
    assert bare.server.is_asyncio_based()
    bare.server.register_namespace(Shop("/"))
    async with await bare.connected() as client:
        await client.send('421["order",[7]]')
        assert [await client.receive(), await client.receive()] == [
            '42["ordered",[7]]',
            '431["OK"]',
        ]
        assert await ask(client, "no such") == "439[]"
    with pytest.raises(Unsupported, match="namespace"):
        bare.server.register_namespace(Shop("/shop"))
    with pytest.raises(ValueError, match="Not a namespace instance"):
        bare.server.register_namespace(object())
    with pytest.raises(ValueError, match="Not a valid namespace class"):
        bare.server.register_namespace(socketio.Namespace("/"))


# Sending


@about("emit", "send")
async def test_events_reach_whom_they_are_sent_to(node: Node, api: Any) -> None:
    one, two = await node.connected(), await node.connected()
    await node.server.enter_room(one.sid, "a")
    await api.emit("e", 1, to="a")
    await api.emit("e", 2, room=["a", two.sid], skip_sid=two.sid)
    await api.emit("e", (3, [4]), skip_sid=[one.sid])
    await api.emit("e", ignore_queue=True)
    await api.send({"x": 5}, to=two.sid)
    assert [await one.receive() for _ in range(3)] == ['42["e",1]', '42["e",2]', '42["e"]']
    assert [await two.receive() for _ in range(3)] == [
        '42["e",3,[4]]', '42["e"]', '42["message",{"x":5}]',
    ]  # fmt: skip


@about("emit", "send", "call")
async def test_what_cannot_be_sent_is_refused_at_once(node: Node, api: Any) -> None:
    client = await node.connected()
    with pytest.raises(Unsupported, match="namespace"):
        await api.emit("e", 1, namespace="/other")
    with pytest.raises(TypeError, match="JSON"):
        await api.emit("e", {"a": b"bytes"}, to=client.sid)
    with pytest.raises(TypeError, match="strings"):
        await api.emit("e", 1, room=7)
    with pytest.raises(ValueError, match="broadcast"):
        await api.call("e", 1)


@about("emit", "call")
async def test_clients_acknowledge_events(node: Node, api: Any) -> None:
    client = await node.connected()
    heard: list[Any] = []

    async def take(*values: Any) -> None:
        heard.append(values)

    async def acknowledge(ack: str) -> None:
        event = await client.receive()
        assert event.endswith('["e",1]'), event
        await client.send("43" + event.removeprefix("42").removesuffix('["e",1]') + ack)

    for callback in (take, lambda *values: heard.append(values)):
        await api.emit("e", 1, to=client.sid, callback=callback)
        await acknowledge('["a",2]')
    await eventually(lambda: len(heard) == 2)
    assert heard == [("a", 2), ("a", 2)]
    for ack, value in (("[]", None), ("[7]", 7), ("[7,8]", (7, 8))):
        asking = asyncio.create_task(api.call("e", 1, to=client.sid, timeout=60))
        await acknowledge(ack)
        assert await asking == value
    await api.emit("e", 1, to=client.sid, callback=fail)
    await acknowledge("[]")
    await eventually(lambda: node.counts.errors == ["handler"])
    assert node.held()["callbacks"] == 0


@about("call")
async def test_a_handler_may_wait_for_its_own_client(node: Node) -> None:
    async def question(sid: str, args: list[Any]) -> Any:
        return await node.server.call("why", to=sid)

    node.script.handlers["ask"] = question
    client = await node.connected()
    await client.send('421["ask"]')
    await client.send(
        "43" + (await client.receive()).removeprefix("42").removesuffix('["why"]') + '["so"]'
    )
    assert await client.receive() == '431["so"]'


@about("call", "emit")
async def test_nobody_is_waited_for_without_end(node: Node, api: Any) -> None:
    client, gone = await node.connected(), await node.connected()
    with pytest.raises(socketio.exceptions.TimeoutError):
        await api.call("e", 1, to=client.sid, timeout=5)
    await api.emit("e", 1, to=gone.sid, callback=print)
    await gone.ws.close()
    await eventually(lambda: gone.sid not in node.server.manager.callbacks)
    assert node.held()["callbacks"] == 1
    await asyncio.sleep(CALLBACK_TTL)
    assert node.held()["callbacks"] == 0


# Rooms, sessions, clients


@about("enter_room", "leave_room", "close_room", "rooms")
async def test_rooms_are_entered_left_and_closed(node: Node, api: Any) -> None:
    one, two = await node.connected(), await node.connected()
    for client in (one, two):
        await api.enter_room(client.sid, "a")
    await api.enter_room(one.sid, "b")
    assert api.rooms(one.sid) == [one.sid, "a", "b"]
    await api.leave_room(one.sid, "b")
    await api.leave_room(one.sid, "never entered")
    await api.close_room("a")
    assert api.rooms(one.sid) == [one.sid]
    assert api.rooms("nobody") == []
    with pytest.raises(ValueError, match="not connected"):
        await api.enter_room("nobody", "a")
    with pytest.raises(ValueError, match="sid room"):
        await api.enter_room(one.sid, two.sid)
    with pytest.raises(ValueError, match="sid room"):
        await api.close_room(one.sid)
    with pytest.raises(TypeError, match="strings"):
        await api.enter_room(one.sid, 7)
    for call in (
        api.enter_room(one.sid, "a", namespace="/other"),
        api.leave_room(one.sid, "a", namespace="/other"),
        api.close_room("a", namespace="/other"),
    ):
        with pytest.raises(Unsupported, match="namespace"):
            await call
    with pytest.raises(Unsupported, match="namespace"):
        api.rooms(one.sid, namespace="/other")


@about("get_session", "save_session", "session")
async def test_a_session_lasts_as_long_as_its_client(node: Node, api: Any) -> None:
    client = await node.connected()
    await api.save_session(client.sid, {"name": "x"})
    async with api.session(client.sid) as session:
        session["seen"] = 1
    assert await api.get_session(client.sid) == {"name": "x", "seen": 1}
    await client.ws.close()
    await eventually(lambda: node.script.count("disconnect") == 1)
    with pytest.raises(KeyError):
        await api.get_session(client.sid)


@about("disconnect")
async def test_a_client_is_disconnected_for_good(node: Node, api: Any) -> None:
    client = await node.connected()
    await api.disconnect(client.sid)
    assert await client.receive() == "41"
    await eventually(lambda: node.script.count("disconnect") == 1)
    assert node.script.calls[-1] == ("disconnect", client.sid, Reason.SERVER_DISCONNECT)
    await api.disconnect("nobody")
    with pytest.raises(Unsupported, match="namespace"):
        await api.disconnect(client.sid, namespace="/other")


@about("transport", "get_environ")
async def test_what_is_known_of_a_client_is_told(node: Node) -> None:
    seen: list[Any] = []

    async def connecting(sid: str, auth: Any) -> None:
        seen.append((node.server.transport(sid), node.server.get_environ(sid)["QUERY_STRING"]))

    node.script.connecting = connecting
    client = await node.websocket("EIO=4&transport=websocket&token=t")
    await client.connect()
    poller = await node.polling()
    await poller.connect()
    assert seen[0] == ("websocket", "EIO=4&transport=websocket&token=t")
    assert node.server.transport(poller.sid) == "polling"
    with pytest.raises(Unsupported, match="token"):
        node.server.get_environ(client.sid)
    for call in (node.server.transport, node.server.get_environ):
        with pytest.raises(KeyError):
            call("nobody")


# The rest


@about("attach", "handle_request", "shutdown", "start_background_task", "sleep", "instrument")
async def test_the_rest_does_what_it_says(node: Node) -> None:
    sio = node.server
    app = web.Application()
    sio.attach(app, "chat/socket")
    assert {route.handler for route in app.router.routes()} == {node.engine.handle_request}
    assert "/chat/socket/" in {resource.canonical for resource in app.router.resources()}

    async def double(number: int, *, plus: int) -> int:
        await sio.sleep(5)
        return 2 * number + plus

    began = asyncio.get_running_loop().time()
    assert await sio.start_background_task(double, 3, plus=1) == 7
    assert asyncio.get_running_loop().time() == began + 5
    with pytest.raises(Unsupported, match="Admin UI"):
        sio.instrument(auth=False)
    with pytest.raises(Unsupported, match=r"Socket\.IO's events"):
        sio.eio.on("connect", print)
    with pytest.raises(AttributeError):
        _ = sio.eio.sockets
    await sio.shutdown()
    assert (await node.request("GET", "EIO=4&transport=polling"))[0] == 503


def test_the_reasons_are_those_of_python_socketio() -> None:
    theirs = {
        name: value for name, value in vars(socketio.AsyncServer.reason).items() if name.isupper()
    }
    assert theirs == {name: value for name, value in vars(Reason).items() if name.isupper()}


def methods(base: type) -> set[str]:
    routines = inspect.getmembers(base, inspect.isroutine)
    return {name for name, _ in routines if not name.startswith("_")}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(AsyncServer, socketio.AsyncServer), (AsyncNamespace, socketio.AsyncNamespace)],
)
def test_no_public_method_of_the_installed_version_is_left_out(ours: type, theirs: type) -> None:
    assert issubclass(ours, theirs)
    assert methods(theirs) <= TESTED
    for name, method in vars(ours).items():
        if name in methods(theirs) and name != "instrument":
            wanted = inspect.signature(getattr(theirs, name)).parameters
            assert list(inspect.signature(method).parameters) == list(wanted), name
