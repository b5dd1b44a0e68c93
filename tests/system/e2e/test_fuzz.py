"""Whatever a client sends, it gets an answer of the contract, and the node serves on."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatserver.eio.frames import MAX_CUT_BYTES
from chatserver.errors import ChatError
from tests.kit.app import RunningServer, running_server
from tests.kit.clients import Chat, Device, Rest, open_chat

EVENTS = (
    "join", "leave", "message", "edit", "delete", "typing", "delivered", "read", "authenticate",
    "sync",
)  # fmt: skip
FIELDS = (
    "conversation_id", "message_id", "content", "message_type", "media_url", "attachment_id",
    "client_msg_id", "reply_to_seq", "is_typing", "seq", "token", "cursor", "limit", "open",
)  # fmt: skip
LONGEST = 120_000
"""Characters; a packet may have a few more bytes."""


def codes(error: type[ChatError] = ChatError) -> set[str]:
    """The code of every error in the tree below `error`."""
    own = {error.code} if hasattr(error, "code") else set()
    return own.union(*map(codes, error.__subclasses__()))


ALLOWED = codes() - {"internal_error", "unavailable"}


class Target:
    """A node, and a socket of somebody who takes part in a conversation there."""

    def __init__(self, server: RunningServer, http: ClientSession, chat: Chat) -> None:
        self.chat = chat
        self._server = server
        self._http = http
        self._device: Device | None = None

    async def device(self) -> Device:
        """An open socket: the last one if it still is."""
        if self._device is None or self._device.is_closed.is_set():
            self._device = await Device.open(self._http, self._server.base_url, self.chat.tenant)
        return self._device

    async def assert_answered(self, payload: str) -> None:
        """`payload`, the JSON array of an event, gets an answer of the contract."""
        assert_known(await (await self.device()).call_raw(payload))

    async def assert_alive(self) -> None:
        """Another socket sends, and it arrives: after it as before it."""
        device = await Device.open(self._http, self._server.base_url, self.chat.landlord)
        message = {"conversation_id": self.chat.id, "content": "still there?"}
        sent = await device.call("message", message)
        assert sent["ok"]
        await device.until(lambda it: sent["message"] in it.of("message"))
        await device.close()


def assert_known(answer: Any) -> None:
    """It is the success or the failure of the contract, down to its types."""
    assert isinstance(answer["ok"], bool)
    if answer["ok"]:
        return
    assert answer.keys() == {"ok", "error"}
    error = answer["error"]
    assert error["code"] in ALLOWED, error
    assert isinstance(error["detail"], str)
    assert error["detail"]
    assert isinstance(error["retryable"], bool)
    assert error.keys() <= {"code", "detail", "retryable", "retry_after", "fields"}
    for name, problems in error.get("fields", {}).items():
        assert name
        assert all(isinstance(problem, str) and problem for problem in problems)


@pytest.fixture
async def target(database_url: str) -> AsyncIterator[Target]:
    async with running_server(database_url) as server, ClientSession() as http:
        chat = await open_chat(Rest(http, server.base_url), database_url)
        target = Target(server, http, chat)
        yield target
        await target.assert_alive()
        await (await target.device()).close()


def examples(count: int) -> Callable[[Any], Any]:
    """So many examples against one node, which is the point of it."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# Everything that JSON can say, and what JavaScript's strings can hold.
TEXTS = st.text(st.characters(), max_size=40) | st.text("\ud800\udfff\0<é\U0001f600", max_size=9)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(2**52, 2**70) | TEXTS | st.sampled_from(["", "0", "text", "system", "image"])
)  # fmt: skip
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def payloads(draw: st.DrawFn) -> Any:
    """Objects that are nearly right: known fields with values of any kind."""
    fields = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=6))
    values = JUNK | st.just("CONVERSATION") | st.uuids().map(str) | st.integers(-2, 5)
    payload = {field: draw(values) for field in fields}
    if draw(st.booleans()):
        payload["conversation_id"] = "CONVERSATION"
    if draw(st.integers(0, 5)) == 0:
        payload[draw(TEXTS)] = draw(JUNK)
    return payload


def written(event: Any, args: list[Any], chat: Chat) -> str:
    """The event as a client writes it, with the id of a real conversation put in."""
    return json.dumps([event, *args]).replace("CONVERSATION", chat.id)


@examples(250)
@given(event=st.sampled_from(EVENTS), payload=payloads())
async def test_any_object_is_answered(target: Target, event: str, payload: Any) -> None:
    await target.assert_answered(written(event, [payload], target.chat))


@examples(150)
@given(event=st.sampled_from(EVENTS) | TEXTS, args=st.lists(JUNK, max_size=3))
async def test_any_event_with_any_arguments_is_answered(
    target: Target, event: str, args: list[Any]
) -> None:
    await target.assert_answered(written(event, args, target.chat))


@examples(40)
@given(
    event=st.sampled_from(EVENTS),
    field=st.sampled_from(FIELDS),
    unit=st.sampled_from(["a", "<b>", " ", "\0", "e\u0301", "\u200b", "<script>", "\U0001f600"]),
    size=st.sampled_from([5_000, 5_001, 20_000, 100_001, LONGEST]),
)
async def test_a_huge_text_anywhere_is_answered(
    target: Target, event: str, field: str, unit: str, size: int
) -> None:
    text = unit * (size // len(json.dumps(unit, ensure_ascii=False).encode()))
    payload = json.dumps([event, {"conversation_id": target.chat.id, field: text}])
    if len(payload) < LONGEST:
        await target.assert_answered(payload)


RAW = {
    "a number that no float holds": '["message",{"content":1e999}]',
    "not a number": '["message",{"content":NaN}]',
    "infinity": '["delivered",{"seq":Infinity}]',
    "a lone surrogate": '["message",{"conversation_id":"ID","content":"\\ud800"}]',
    "a surrogate as a name": '["join",{"\\udfff":1,"conversation_id":"ID"}]',
    "a surrogate as an event": '["\\ud83d",{}]',
    "NUL": '["message",{"conversation_id":"ID","content":"a\\u0000b"}]',
    "NUL in a name": '["join",{"\\u0000":1}]',
    "a raw control character": '["message",{"content":"a\x01b"}]',
    "an integer without end": '["delivered",{"conversation_id":"ID","seq":' + "9" * 5000 + "}]",
    "a doubled key": '["join",{"conversation_id":7,"conversation_id":"ID"}]',
    "deep arrays": '["message",' + "[" * 100_000,
    "deep arrays that end": '["message",' + "[" * 50_000 + "]" * 50_000 + "]",
    "deep objects": '["message",{"content":' * 5_000,
    "deep under a surrogate": '["message","\\ud800",' + "[" * 50_000 + "]" * 50_000 + "]",
    "nothing": "",
    "an empty array": "[]",
    "an object": '{"0":"join"}',
    "an event that is a number": "[7,{}]",
    "an event that is nothing": "[null,{}]",
    "a forged connect": '["connect",{}]',
    "a forged disconnect": '["disconnect","ping timeout"]',
    "a handler's own name": '["_message",{"conversation_id":"ID"}]',
    "half of it": '["message",{"content":"x"',
    "more than it": '["join",{}]]',
    "no JSON": "['join', {}]",
}


async def test_a_raw_packet_is_answered_or_ends_the_connection(target: Target) -> None:
    for name, payload in RAW.items():
        device = await target.device()
        for packet in (payload, '["settle",{}]'):
            # Whoever was answered may go on, or is closed right after it.
            try:
                assert_known(await device.call_raw(packet.replace("ID", target.chat.id)))
            except ConnectionError:
                assert device.is_closed.is_set(), name
                break
        await target.assert_alive()


MALFORMED = (
    "", "4", "42", "4x", "9", "45-[]", "451-", "46", "43", "431[]", "44{}", "41x", "40", "40{",
    "42/other,[]", "40/other,", "42" + "1" * 30 + '["join"]', "4210[", "b" + "A" * 100, "5",
    "2probe", "42\x1e42", "4" + "2" * 1000, "0{}", "1", "42-1[]", "4\U0001f600", "\ud7ff",
)  # fmt: skip


async def test_a_malformed_packet_harms_nobody_else(target: Target) -> None:
    for packet in MALFORMED:
        await (await target.device()).send_raw(packet)
        await target.assert_alive()


async def test_a_packet_of_two_hundred_thousand_levels_harms_nobody(
    database_url: str,
) -> None:
    """Deeper than a packet of the usual size can be."""
    async with (
        running_server(database_url, realtime__max_packet_bytes=2**21) as server,
        ClientSession() as http,
    ):
        chat = await open_chat(Rest(http, server.base_url), database_url)
        target = Target(server, http, chat)
        for left, right in (("[", "]"), ('{"a":', "}")):
            for tail in (right * 200_000, ""):
                device = await Device.open(http, server.base_url, chat.tenant)
                nested = left * 200_000 + ("1" if tail else "") + tail
                answer = await device.call_raw(f'["message",{nested}]')
                assert answer["error"]["code"] == "invalid_payload"
                await target.assert_alive()
                await device.close()


async def test_a_packet_over_the_limit_is_answered_and_one_far_over_it_ends_its_connection(
    target: Target,
) -> None:
    device = await target.device()
    answer = await device.call("message", {"content": "x" * 140_000})
    assert answer["error"]["code"] == "payload_too_large"
    with pytest.raises(ConnectionError):
        await device.call("message", {"content": "x" * (MAX_CUT_BYTES + 1)})
    await target.assert_alive()


async def test_events_after_each_other_keep_their_order_amid_rubbish(target: Target) -> None:
    device = await target.device()
    calls = []
    for number in range(60):
        good = {"conversation_id": target.chat.id, "content": f"{number}"}
        calls.append(device.call("message", good))
        calls.append(device.call("message", {"content": number}))
        calls.append(device.call(uuid4().hex))
    answers = await asyncio.gather(*calls)
    assert [answer["message"]["content"] for answer in answers[::3]] == [
        f"{number}" for number in range(60)
    ]
    assert {answer["error"]["code"] for answer in answers[1::3]} == {"invalid_payload"}
    assert {answer["error"]["code"] for answer in answers[2::3]} == {"unknown_event"}


def test_every_code_is_one_of_the_contract() -> None:
    assert all(re.fullmatch("[a-z_]+", code) for code in codes())
    assert {"internal_error", "unavailable", "blocked", "token_expired"} <= codes()
