"""The raw websocket on a node with a scripted namespace: its life, its heartbeat, its end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest

from chatserver.eio.websocket import text_frame
from chatserver.errors import NotFound, Unauthorized, Unavailable
from chatserver.realtime import raw_frames
from tests.kit.waiting import eventually
from tests.unit.realtime.wire import FRIEND, Node, running_node

CHAT = str(uuid4())
ROOM = f"conversation:{CHAT}"


class Raw:
    """A raw websocket; what comes over it is read when a test asks for it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, **frame: Any) -> None:
        await self.ws.send_str(json.dumps(frame))

    async def receive(self) -> Any:
        """The next frame; the close code when the connection has ended."""
        message = await self.ws.receive(timeout=15)
        return json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else self.code

    @property
    def code(self) -> int | None:
        return self.ws.close_code


opened: list[Raw] = []
"""Those that are closed at the end of the test."""


async def open_raw(
    node: Node,
    token: str = "t",
    *,
    headers: Mapping[str, str] | None = None,
    answers_pings: bool = True,
) -> Raw:
    url = f"http://127.0.0.1:{node.port}/ws/chat/{CHAT}?token={token}"
    raw = Raw(await node.http.ws_connect(url, headers=headers, autoping=answers_pings))
    opened.append(raw)
    return raw


def message(seq: int, rev: int | None = None, **parts: Any) -> dict[str, Any]:
    return {"id": f"m{seq}", "conversation_id": CHAT, "seq": seq, "rev": rev or seq, **parts}


async def kinds_of(raw: Raw, count: int) -> list[str]:
    """The types of the next frames."""
    return [(await raw.receive())["type"] for _ in range(count)]


@asynccontextmanager
async def chatting(**settings: Any) -> AsyncIterator[Node]:
    """A node whose namespace lets everybody join and takes every message."""
    async with running_node(**settings) as node:
        sent = 0

        async def join(sid: str, args: list[Any]) -> Any:
            await node.server.enter_room(sid, ROOM)
            return {"ok": True, "conversation": {"rev": 0}}

        async def send(sid: str, args: list[Any]) -> Any:
            nonlocal sent
            sent += 1
            stored = message(sent, content=args[0]["content"])
            return {"ok": True, "message": orjson.Fragment(orjson.dumps(stored))}

        async def nothing(sid: str, args: list[Any]) -> Any:
            return {"ok": False, "error": {"code": "unknown_event", "detail": "None such."}}

        node.script.handlers.update(join=join, message=send, invalid_frame=nothing)
        yield node
        while opened:
            await opened.pop().ws.close()


async def joined(node: Node, count: int = 1) -> None:
    events = node.script.calls
    await eventually(lambda: sum(call[-1] == "join" for call in events) >= count)
    await eventually(lambda: len(node.adapter.select([ROOM])) >= count)


# Coming in


async def test_it_connects_with_the_token_and_joins_before_any_frame_is_handled() -> None:
    async with chatting() as node:
        tokens: list[Any] = []

        async def connecting(sid: str, auth: Any) -> None:
            tokens.append(auth)
            await asyncio.sleep(0.1)

        node.script.connecting = connecting
        raw = await open_raw(node, token="abc", headers={"Authorization": "Bearer def"})
        await raw.send(type="message", content="hi")
        answer = {"type": "message", "data": message(1, content="hi")}
        assert await raw.receive() == answer
        assert tokens == [{"token": "abc"}]
        (environ,) = node.script.environs
        assert environ["HTTP_AUTHORIZATION"] == "Bearer def"
        assert "abc" not in str(environ)
        assert [call[2] for call in node.script.calls[1:]] == ["join", "message"]
        assert node.counts.open["raw"] == 1
        await raw.ws.close()
        await node.until_empty()
        assert node.counts.events == [("raw", "transport close")]


@pytest.mark.parametrize("when", ["connect", "join"])
@pytest.mark.parametrize(
    ("error", "code"),
    [(Unauthorized(), 1008), (NotFound(), 1008), (Unavailable(), 1011), (KeyError("x"), 1011)],
)
async def test_who_is_refused_hears_why_and_the_code(
    when: str, error: Exception, code: int
) -> None:
    async with chatting() as node:

        async def refuse(*_: Any) -> Any:
            raise error

        if when == "connect":
            node.script.connecting = refuse
        else:
            node.script.handlers["join"] = refuse
        raw = await open_raw(node)
        await raw.send(type="message", content="hi")
        frame = await raw.receive()
        assert frame["type"] == "error"
        assert frame["data"]["code"] == getattr(error, "code", "internal_error")
        assert await raw.receive() == code
        await node.until_empty()
        assert ("event", "message") not in {(call[0], call[-1]) for call in node.script.calls}


async def test_foreign_pages_and_requests_that_are_no_websocket_are_refused() -> None:
    async with chatting() as node:
        url = f"http://127.0.0.1:{node.port}/ws/chat/{CHAT}"
        async with node.http.get(url) as response:
            assert response.status == 426
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await open_raw(node, headers={"Origin": "http://foe.example"})
        assert refused.value.status == 403
        raw = await open_raw(node, headers={"Origin": FRIEND})
        await joined(node)
        await raw.ws.close()


async def test_an_address_has_raw_and_other_sockets_together_up_to_its_cap() -> None:
    async with chatting(max_sockets_per_address=2) as node:
        plain, raw = await node.connected(), await open_raw(node)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await open_raw(node)
        assert refused.value.status == 429
        elsewhere = await open_raw(node, headers={"X-Test-Address": "other"})
        await raw.ws.close()
        await eventually(lambda: node.counts.open["raw"] == 1)
        raw = await open_raw(node)
        assert not any(each.ws.closed for each in (plain, raw, elsewhere))
        await plain.ws.close()


# Frames


async def test_frames_are_handled_in_order_and_bad_ones_leave_it_open() -> None:
    async with chatting() as node:
        raw = await open_raw(node)
        key = str(uuid4())
        await raw.send(type="message", content="one")
        await raw.ws.send_str("no JSON")
        await raw.ws.send_bytes(b"binary")
        await raw.send(type="shout")
        await raw.send(type="message", content=7, client_msg_id=key)
        await raw.send(type="message", content="two")
        answers = [await raw.receive() for _ in range(6)]
        assert [each["type"] for each in answers] == ["message", *["error"] * 4, "message"]
        assert {each["data"]["code"] for each in answers[1:5]} == {"invalid_payload"}
        assert answers[4]["data"]["client_msg_id"] == key
        # Each has come by the namespace, where events are counted and limited.
        assert [call[-1] for call in node.script.calls[2:]] == [
            "message", *["invalid_frame"] * 4, "message",
        ]  # fmt: skip


async def test_a_failure_of_the_namespace_wins_over_what_is_wrong_with_the_frame() -> None:
    async with chatting() as node:
        limited = {"code": "rate_limited", "detail": "Too fast.", "retryable": True}

        async def limit(sid: str, args: list[Any]) -> Any:
            return {"ok": False, "error": limited}

        node.script.handlers.update(invalid_frame=limit, message=limit)
        raw, key = await open_raw(node), str(uuid4())
        await raw.ws.send_str("no JSON")
        await raw.send(type="message", content="x", client_msg_id=key)
        assert await raw.receive() == {"type": "error", "data": limited}
        assert (await raw.receive())["data"] == {**limited, "client_msg_id": key}


async def test_what_is_too_large_closes_with_1009() -> None:
    async with chatting(max_packet_bytes=1000) as node:
        raw = await open_raw(node)
        await raw.send(type="message", content="x" * 1000)
        assert await raw.receive() == 1009


async def test_ones_own_message_comes_once_whichever_is_first() -> None:
    async with chatting() as node:
        send = node.script.handlers["message"]

        async def publish_first(sid: str, args: list[Any]) -> Any:
            node.adapter.emit_now("message", message(1, content="1"), [ROOM])
            await asyncio.sleep(0.1)
            return await send(sid, args)

        raw, other = await open_raw(node), await open_raw(node)
        await joined(node, 2)
        node.script.handlers["message"] = publish_first
        await raw.send(type="message", content="1")
        assert (await raw.receive())["data"]["seq"] == 1
        await asyncio.sleep(0.2)
        node.script.handlers["message"] = send
        await raw.send(type="message", content="2")
        assert (await raw.receive())["data"]["seq"] == 2
        for seq in (2, 3):
            node.adapter.emit_now("message", message(seq), [ROOM])
        assert (await raw.receive())["data"]["seq"] == 3
        assert [(await other.receive())["data"]["seq"] for _ in range(3)] == [1, 2, 3]


async def test_what_is_not_of_its_conversation_is_not_for_it_and_the_rest_is_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bytes] = []

    def counting(payload: bytes) -> bytes:
        made.append(payload)
        return text_frame(payload)

    async with chatting() as node:
        raws = [await open_raw(node) for _ in range(3)]
        await joined(node, 3)
        plain = await node.connected()
        await node.server.enter_room(plain.sid, ROOM)
        monkeypatch.setattr(raw_frames, "text_frame", counting)
        foreign = {**message(1), "conversation_id": str(uuid4())}
        node.adapter.emit_now("message", foreign, [ROOM])
        node.adapter.emit_now("unread", {"conversation_id": CHAT}, [ROOM])
        node.adapter.emit_now("message", message(2), [ROOM])
        for raw in raws:
            assert await raw.receive() == {"type": "message", "data": message(2)}
        assert len(made) == 2
        assert (await plain.receive()).startswith('42["message"')
        await plain.ws.close()


# Its heartbeat


async def test_pings_that_are_answered_keep_it_open_and_others_do_not() -> None:
    async with chatting() as node:
        alive, silent = await open_raw(node), await open_raw(node, answers_pings=False)
        await joined(node, 2)
        reading = asyncio.create_task(alive.receive())
        assert (await silent.ws.receive()).type is aiohttp.WSMsgType.PING
        await asyncio.sleep(60)
        assert node.counts.events == [("raw", "ping timeout")]
        assert node.counts.errors == ["ping_timeout"]
        node.adapter.emit_now("message", message(1), [ROOM])
        assert (await reading)["data"]["seq"] == 1


async def test_pings_of_the_client_are_answered() -> None:
    async with chatting() as node:
        raw = await open_raw(node, answers_pings=False)
        await raw.ws.ping(b"are you there?")
        answer = await raw.ws.receive()
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"are you there?")


# What may have been missed


async def test_a_head_of_what_it_was_told_changes_nothing() -> None:
    async with chatting() as node:
        raw = await open_raw(node)
        kinds = asyncio.create_task(kinds_of(raw, 3))
        await joined(node)
        head = {"conversation_id": CHAT, "last_seq": 1, "rev": 2}
        node.adapter.emit_now("message", message(1, rev=1), [ROOM])
        node.adapter.emit_now("head", head, [ROOM])
        node.adapter.emit_now("head", {**head, "conversation_id": str(uuid4())}, [ROOM])
        await asyncio.sleep(0.9)
        # Events overtake each other: what was missing may come.
        node.adapter.emit_now("read_receipt", {"conversation_id": CHAT, "rev": 2}, [ROOM])
        await asyncio.sleep(10)
        node.adapter.emit_now("message", message(2, rev=3), [ROOM])
        assert await kinds == ["message", "read_receipt", "message"]


@pytest.mark.parametrize("told", [(), (2,)], ids=["nothing", "what came after it"])
async def test_a_head_of_what_it_was_not_told_makes_it_come_again(told: tuple[int, ...]) -> None:
    async with chatting() as node:
        raw = await open_raw(node)
        await joined(node)
        for seq in told:
            node.adapter.emit_now("message", message(seq), [ROOM])
        node.adapter.emit_now("head", {"conversation_id": CHAT, "last_seq": 2, "rev": 2}, [ROOM])
        assert [(await raw.receive())["data"]["seq"] for _ in told] == list(told)
        assert await raw.receive() == 1012
        await node.until_empty()


# The end


async def test_a_session_that_is_ended_for_good_closes_with_1008() -> None:
    async with chatting() as node:
        raw = await open_raw(node)
        await joined(node)
        (sid,) = node.adapter.select([ROOM])
        node.adapter.emit_now("error", {"code": "token_expired"}, [sid])
        node.sockets.disconnect(sid)
        assert await raw.receive() == {"type": "error", "data": {"code": "token_expired"}}
        assert await raw.receive() == 1008
        await node.until_empty()
        assert node.script.calls[-1] == ("disconnect", sid, "server disconnect")


@pytest.mark.parametrize("way", ["drain", "release"])
async def test_sends_in_flight_are_answered_before_it_is_closed_with_1012(way: str) -> None:
    async with chatting() as node:
        send = node.script.handlers["message"]

        async def slowly(sid: str, args: list[Any]) -> Any:
            await asyncio.sleep(0.2)
            return await send(sid, args)

        node.script.handlers["message"] = slowly
        raw = await open_raw(node)
        await joined(node)
        for text in "abc":
            await raw.send(type="message", content=text)
        await eventually(lambda: node.script.count("event") == 2)
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(
            node.sockets.drain(5) if way == "drain" else node.sockets.release(0)
        )
        await asyncio.sleep(0.05)
        await raw.send(type="message", content="too late")
        assert [(await raw.receive())["data"]["content"] for _ in "abc"] == list("abc")
        assert await raw.receive() == 1012
        await ending
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await open_raw(node)
        assert refused.value.status == 503


@pytest.mark.real_time
async def test_who_does_not_read_is_dropped_when_the_queue_is_full() -> None:
    async with chatting(max_queue_bytes=100_000) as node:
        raw = await open_raw(node)
        await joined(node)
        transport: Any = raw.ws._response.connection.transport  # type: ignore[union-attr]
        transport.pause_reading()
        seq = 0
        while node.counts.open["raw"]:
            seq += 1
            node.adapter.emit_now("message", message(seq, content="x" * 50_000), [ROOM])
            assert seq < 2000
            await asyncio.sleep(0)
        assert node.counts.errors == ["queue_overflow"]
        await node.until_empty()
        transport.abort()
