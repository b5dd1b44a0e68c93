"""A Socket.IO client's life: CONNECT, events in order, refusals, the end."""

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError  # type: ignore[import-untyped]

from chatserver.eio.websocket import CLOSE_GRACE, WebSocket
from chatserver.errors import Forbidden, Unauthorized
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import Node, running_node

INTERNAL_ERROR = {
    "code": "internal_error",
    "detail": "The server failed; the failure has been logged.",
    "retryable": False,
}


# CONNECT


async def test_connect_hands_over_the_auth_object(node: Node) -> None:
    seen: list[Any] = []

    async def connecting(sid: str, auth: Any) -> None:
        seen.append(auth)

    node.script.connecting = connecting
    await node.connected({"token": "t"})
    await node.connected()
    assert seen == [{"token": "t"}, None]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_socket_that_does_not_connect_is_closed(transport: str) -> None:
    async with running_node(connect_timeout=0.2) as node:
        if transport == "websocket":
            async with await node.websocket() as client:
                await client.receive_hello()
                assert await client.receive() == "closed 1008"
        else:
            poller = await node.polling()
            assert await poller.get() == (200, "1")
        await node.until_empty()
        assert node.counts.errors == ["connect_timeout"]
        assert node.script.calls == []


async def test_a_slow_connect_handler_is_not_a_missing_connect() -> None:
    async with running_node(connect_timeout=0.2) as node:

        async def connecting(sid: str, auth: Any) -> None:
            await asyncio.sleep(0.4)

        node.script.connecting = connecting
        client = await node.connected()
        assert (await client.call("a"))["ok"] is True


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (
            ConnectionRefusedError("no", {"code": "unauthorized"}),
            {"message": "no", "data": {"code": "unauthorized"}},
        ),
        (Unauthorized(), {"message": Unauthorized().detail, "data": Unauthorized().to_dict()}),
        (ValueError("secret"), {"message": INTERNAL_ERROR["detail"], "data": INTERNAL_ERROR}),
        (None, {"message": "Connection rejected by server"}),
    ],
)
async def test_a_refused_client_learns_why_and_is_closed_soon(
    raised: Exception | None, expected: dict[str, Any]
) -> None:
    async with running_node(connect_timeout=0.3) as node:

        async def connecting(sid: str, auth: Any) -> bool:
            await node.server.enter_room(sid, "user:1")
            node.adapter.emit_now("never", 1, ["user:1"])
            if raised is not None:
                raise raised
            return False

        node.script.connecting = connecting
        async with await node.websocket() as client:
            await client.receive_hello()
            await client.send("40")
            await client.send('421["too early"]')
            answer = await client.receive()
            assert answer[:2] == "44"
            assert json.loads(answer[2:]) == expected
            assert node.adapter.emit_now("never", 1, ["user:1"]) == 0
            await client.send('422["too late"]')
            assert await client.receive() == "closed 1000"
        await node.until_empty()
        assert node.script.calls == []


async def test_a_refused_polling_client_can_fetch_the_reason(node: Node) -> None:
    async def connecting(sid: str, auth: Any) -> bool:
        raise Forbidden

    node.script.connecting = connecting
    client = await node.polling()
    await client.send("40")
    (answer,) = await client.receive()
    assert json.loads(answer[2:])["data"]["code"] == "forbidden"
    assert await client.get() == (200, "1")
    await node.until_empty()


async def test_another_namespace_is_refused_and_the_default_one_still_open(node: Node) -> None:
    client = await node.websocket()
    await client.receive_hello()
    await client.send('40/admin,{"token":"x"}')
    assert await client.receive() == '44/admin,{"message":"Invalid namespace"}'
    await client.send("40")
    assert (await client.receive()).startswith("40{")


@pytest.mark.parametrize("packet", ['42/admin,["a"]', "41/admin,", "40", "44{}", "43[]"])
async def test_a_packet_out_of_place_closes_the_connection(node: Node, packet: str) -> None:
    client = await node.connected()
    await client.send(packet)
    assert await client.receive() == "closed 1002"
    await node.until_empty()


async def test_a_second_connect_while_the_first_runs_closes_the_connection(node: Node) -> None:
    async def connecting(sid: str, auth: Any) -> None:
        await asyncio.sleep(0.1)

    node.script.connecting = connecting
    client = await node.websocket()
    await client.receive_hello()
    await client.send("40")
    await asyncio.sleep(0.02)
    await client.send("40")
    assert await client.receive() == "closed 1002"
    await node.until_empty()
    assert node.script.count("connect") == node.script.count("disconnect")


async def test_events_emitted_during_connect_follow_its_answer(node: Node) -> None:
    async def connecting(sid: str, auth: Any) -> None:
        await node.server.enter_room(sid, "user:1")
        assert node.adapter.emit_now("early", 1, ["user:1"]) == 1
        await asyncio.sleep(0.02)

    node.script.connecting = connecting
    client = await node.connected()  # the first packet is the CONNECT answer
    assert await client.receive() == '42["early",1]'


# Events


async def test_events_of_a_socket_are_handled_one_at_a_time_in_order(node: Node) -> None:
    running, trace = 0, []

    async def handler(sid: str, args: list[Any]) -> Any:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.01 if args[0] % 2 else 0)
        trace.append(args[0])
        running -= 1
        return {"ok": True}

    node.script.handlers["n"] = handler
    client = await node.connected()
    for number in range(20):
        await client.send(f'42{number}["n",{number}]')
    acks = [(await client.receive())[1:].partition("[")[0] for _ in range(20)]
    assert trace == list(range(20))
    assert acks == [f"3{number}" for number in range(20)]


async def test_pings_are_answered_while_a_handler_runs() -> None:
    async with running_node(ping_interval=0.1, ping_timeout=0.1) as node:

        async def handler(sid: str, args: list[Any]) -> Any:
            await asyncio.sleep(0.8)
            return {"ok": True}

        node.script.handlers["slow"] = handler
        async with await node.connected() as client:
            assert await client.call("slow") == {"ok": True}


async def test_sockets_do_not_wait_for_each_other(node: Node) -> None:
    release = asyncio.Event()

    async def handler(sid: str, args: list[Any]) -> Any:
        await release.wait()

    node.script.handlers["slow"] = handler
    slow, quick = await node.connected(), await node.connected()
    await slow.send('42["slow"]')
    assert (await quick.call("a"))["ok"] is True
    release.set()


async def test_a_full_queue_stops_reading_and_loses_nothing() -> None:
    async with running_node(max_pending_events=4, ping_interval=0.1, ping_timeout=0.1) as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()
            return {"ok": True}

        node.script.handlers["n"] = handler
        client = await node.connected()
        for number in range(200):
            await client.send(f'42{number}["n"]')
        pings = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.7):
                while await client.ws.receive_str() == "2":
                    pings += 1
                    await client.send("3")
        assert pings >= 4  # it is us who do not read the pongs, so nobody is dropped
        (peer,) = node.adapter.list_clients()
        assert len(peer._queue) <= 4
        assert node.script.count("event") == 1
        release.set()
        acks = [(await client.receive())[1:].partition("[")[0] for _ in range(200)]
        assert acks == [f"3{number}" for number in range(200)]
        with pytest.raises(TimeoutError):
            await client.receive(within=0.3)  # the heartbeat is well


async def test_a_socket_that_is_not_read_can_still_be_closed() -> None:
    async with running_node(max_pending_events=4) as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()

        node.script.handlers["n"] = handler
        client = await node.connected()
        for _ in range(20):
            await client.send('42["n"]')
        await asyncio.sleep(0.05)
        (socket,) = node.engine.sockets.values()
        websocket = socket.transport
        assert isinstance(websocket, WebSocket)
        node.engine.close_all()
        # Its close frame lies behind what was not read, and ends it before its time.
        assert await client.receive() == "closed 1012"
        await eventually(lambda: websocket._is_lost, CLOSE_GRACE / 2)
        release.set()


async def test_a_queue_is_also_full_by_bytes() -> None:
    async with running_node(max_packet_bytes=10_000) as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()

        node.script.handlers["n"] = handler
        client = await node.connected()
        for _ in range(10):
            await client.send('42["n","' + "x" * 9_900 + '"]')
        await asyncio.sleep(0.1)
        (peer,) = node.adapter.list_clients()
        assert len(peer._queue) <= 3
        release.set()
        await eventually(lambda: node.script.count("event") == 10)


async def test_a_full_queue_holds_back_the_answer_to_a_post() -> None:
    async with running_node(max_pending_events=4) as node:
        release = asyncio.Event()

        async def handler(sid: str, args: list[Any]) -> Any:
            await release.wait()

        node.script.handlers["n"] = handler
        client = await node.polling()
        await client.connect()
        post = asyncio.create_task(client.send(*['42["n"]'] * 6))
        await asyncio.sleep(0.1)
        assert not post.done()
        release.set()
        await post


async def test_no_acknowledgement_is_sent_unasked(node: Node) -> None:
    client, other = await node.connected(), await node.connected()
    await client.send('42["a"]')
    assert (await client.call("b", ack_id=5))["event"] == "b"  # it is the first that arrives
    assert (await other.call("c"))["event"] == "c"


@pytest.mark.parametrize("answer", ["raises", "cannot be encoded", "leaks a cancellation"])
async def test_a_failing_handler_is_logged_once_and_acked_as_internal_error(
    node: Node, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    async def handler(sid: str, args: list[Any]) -> Any:
        if answer == "raises":
            raise ValueError("broken")
        if answer == "leaks a cancellation":
            raise asyncio.CancelledError
        return {"ok": object()}

    node.script.handlers["a"] = handler
    client = await node.connected()
    with caplog.at_level(logging.WARNING):
        ack = await client.call("a")
    assert ack["ok"] is False
    if answer == "leaks a cancellation":
        assert ack["error"]["code"] == "unavailable"
    else:
        assert ack["error"] == INTERNAL_ERROR
        assert len(caplog.records) == 1
    assert (await client.call("b"))["ok"] is True


async def test_a_chat_error_that_escapes_is_the_acknowledgement(node: Node) -> None:
    async def handler(sid: str, args: list[Any]) -> Any:
        raise Forbidden

    node.script.handlers["a"] = handler
    client = await node.connected()
    assert await client.call("a") == {"ok": False, "error": Forbidden().to_dict()}


@pytest.mark.parametrize(
    "name", ["connect", "disconnect", "connect_error", "newListener", "trigger_event", ""]
)
async def test_a_reserved_name_is_an_event_like_any_other(node: Node, name: str) -> None:
    client = await node.connected()
    heard = (await client.call(name, "forged", {"a": 1}))["event"]
    assert heard == (f"{name}: reserved" if name in ("connect", "disconnect") else name)
    assert [call[0] for call in node.script.calls] == ["connect", "event"]


async def test_an_acknowledgement_from_a_client_is_ignored(node: Node) -> None:
    client = await node.connected()
    await client.send('431["x"]')
    assert (await client.call("a"))["ok"] is True


async def test_a_lone_surrogate_reaches_the_namespace(node: Node) -> None:
    seen: list[Any] = []

    async def handler(sid: str, args: list[Any]) -> Any:
        seen.extend(args)
        return {"ok": False}

    node.script.handlers["a"] = handler
    client = await node.connected()
    await client.send('421["a","\\ud83d"]')
    assert await client.receive() == '431[{"ok":false}]'
    assert seen == ["\ud83d"]


async def test_an_acknowledgement_may_have_several_values(node: Node) -> None:
    async def handler(sid: str, args: list[Any]) -> Any:
        return tuple(args)

    node.script.handlers["a"] = handler
    client = await node.connected()
    await client.send('427["a",1,"2",{"3":[false]}]')
    assert await client.receive() == '437[1,"2",{"3":[false]}]'


# The end


async def test_a_clients_disconnect_comes_after_its_events(node: Node) -> None:
    async def handler(sid: str, args: list[Any]) -> Any:
        await asyncio.sleep(0.02)

    node.script.handlers["a"] = handler
    client = await node.connected()
    for packet in ('42["a"]', '42["a"]', "41"):
        await client.send(packet)
    await client.ws.close()
    await eventually(lambda: node.script.count("disconnect") == 1)
    assert [call[0] for call in node.script.calls] == ["connect", "event", "event", "disconnect"]
    assert node.script.calls[-1][2] == "client disconnect"
    await node.until_empty()


async def test_a_client_that_disconnects_but_stays_is_closed() -> None:
    async with running_node(connect_timeout=0.2) as node:
        client = await node.connected()
        await client.send("41")
        await client.send('421["a"]')
        assert await client.receive() == "closed 1000"
        assert [call[0] for call in node.script.calls] == ["connect", "disconnect"]
        await node.until_empty()


async def test_the_server_can_disconnect_a_socket_from_its_own_handler() -> None:
    async with running_node(connect_timeout=0.2) as node:

        async def handler(sid: str, args: list[Any]) -> Any:
            await node.server.enter_room(sid, "r")
            await node.server.disconnect(sid)
            await node.server.disconnect(sid)
            await node.server.enter_room(sid, "s")
            assert node.adapter.emit_now("never", 1, ["r", "s", sid]) == 0
            return {"ok": True}

        node.script.handlers["a"] = handler
        client = await node.connected()
        await client.send('421["a"]')
        await client.send('422["never handled"]')
        assert await client.receive() == "41"
        assert await client.receive() == '431[{"ok":true}]'
        assert await client.receive() == "closed 1000"
        calls = [(call[0], call[-1]) for call in node.script.calls]
        assert calls[1:] == [("event", "a"), ("disconnect", "server disconnect")]
        await node.until_empty()


async def test_a_running_handler_outlives_its_client(node: Node) -> None:
    release = asyncio.Event()
    finished: list[str] = []

    async def handler(sid: str, args: list[Any]) -> Any:
        await release.wait()
        await node.server.enter_room(sid, "ghost")  # nothing happens, and nothing is raised
        finished.append(sid)

    node.script.handlers["a"] = handler
    client = await node.connected()
    await client.send('421["a"]')
    await eventually(lambda: node.script.count("event") == 1)
    client.drop()
    await eventually(lambda: not node.engine.sockets)
    assert node.script.count("disconnect") == 0
    release.set()
    await eventually(lambda: node.script.count("disconnect") == 1)
    assert finished == [client.sid]
    await node.until_empty()


async def test_sessions_and_rooms_can_be_read_until_the_disconnect_handler_is_done(
    node: Node,
) -> None:
    seen: list[Any] = []

    async def connecting(sid: str, auth: Any) -> None:
        await node.server.save_session(sid, {"user": 7})
        await node.server.enter_room(sid, "user:7")

    async def disconnecting(sid: str) -> None:
        seen.append((await node.server.get_session(sid), node.server.rooms(sid)))

    node.script.connecting, node.script.disconnecting = connecting, disconnecting
    client = await node.connected()
    async with node.server.session(client.sid) as session:
        session["more"] = 1
    await client.ws.close()
    await node.until_empty()
    assert seen == [({"user": 7, "more": 1}, [client.sid, "user:7"])]
    with pytest.raises(KeyError):
        await node.server.get_session(client.sid)


async def test_after_a_few_events_that_wait_for_nothing_the_others_have_a_turn(node: Node) -> None:
    """Also where all of them came at once, as refused ones do."""
    in_turn = [0]  # events that were handled, for each turn of the loop

    async def event(sid: str, args: list[Any]) -> dict[str, Any]:
        if not in_turn[-1]:
            asyncio.get_running_loop().call_soon(in_turn.append, 0)
        in_turn[-1] += 1
        return {"ok": True}

    node.script.handlers["a"] = event
    poller = await node.polling()
    await poller.send("40")
    await poller.receive()
    await poller.send(*['42["a"]'] * 40)
    await eventually(lambda: sum(in_turn) == 40)
    assert max(in_turn) <= 8
