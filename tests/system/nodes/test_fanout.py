"""Whoever is connected to whichever node gets every event once."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import socketio  # type: ignore[import-untyped]

from chatserver.dev.redis import EmbeddedRedis
from chatserver.models import Role
from chatserver.services.writer import LINGER
from tests.kit.app import RunningServer, add_person, running_server
from tests.kit.clients import open_chat
from tests.kit.raw import RawDevice
from tests.kit.waiting import eventually
from tests.system.nodes.town import Town, running_town

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def town(database_url: str, redis: EmbeddedRedis) -> AsyncIterator[Town]:
    async with running_town(database_url, redis.port) as running:
        yield running


async def test_a_message_reaches_every_device_on_every_node_once(town: Town) -> None:
    """Messages of two nodes may overtake each other on the way; those of one do not."""
    second = await town.device(0, town.chat.landlord)
    for number in range(30):
        sender = (town.tenant, town.landlord)[number % 2]
        answer = await sender.call(
            "message", {"conversation_id": town.chat.id, "content": f"{number}"}
        )
        assert answer["ok"]
    for device in (town.tenant, town.landlord, second):
        messages = await device.heard("message", 30)
        assert sorted(message["seq"] for message in messages) == list(range(1, 31))
        for person in town.chat.people:
            own = [each["seq"] for each in messages if each["sender_id"] == str(person.id)]
            assert own == sorted(own)
    await asyncio.sleep(0.2)
    for device in (town.tenant, town.landlord, second):
        assert len(device.of("message")) == 30
    await second.close()


async def test_an_admin_who_joined_hears_once_all_that_happens(town: Town) -> None:
    """On whichever node, also on one where nobody of the conversation is."""
    talk, (rest, _) = {"conversation_id": town.chat.id}, town.rests
    admin = await add_person(town.nodes[0].database_url, Role.ADMIN)
    desks = [await town.device(node, admin) for node in (0, 1)]
    lurker = await town.device(1, admin)
    for desk in (*desks, town.tenant):
        assert (await desk.call("join", talk))["ok"]
    await town.landlord.close()
    sent = (await town.tenant.call("message", {**talk, "content": "hello"}))["message"]
    same = {"message_id": sent["id"]}
    for event, payload in (
        ("typing", {**talk, "is_typing": True}),
        ("edit", {**same, "content": "x"}),
    ):
        assert (await town.tenant.call(event, payload))["ok"]
    assert (
        await rest.call("PATCH", f"messages/{sent['id']}/read", town.chat.landlord)
    ).status == 200
    assert (await town.tenant.call("delete", same))["ok"]
    assert (
        await rest.call("PATCH", f"conversations/{town.chat.id}/archive", town.chat.tenant)
    ).status == 200
    assert (await desks[0].call("message", {**talk, "content": "from the host"}))["ok"]
    happened = [
        *("message", "message_updated", "read_receipt", "message_deleted"),
        *("conversation", "message"),
    ]
    for device in (*desks, town.tenant):
        await device.heard("message", 2)
    others = {"typing", "presence", "unread", "head"}
    for device in (*desks, town.tenant):
        events = [each for each in device.events if each[0] not in others]
        assert [name for name, _ in events] == happened
        assert [each["rev"] for _, each in events] == sorted(each["rev"] for _, each in events)
    for desk in desks:
        assert [each["user_id"] for each in desk.of("typing")] == [str(town.chat.tenant.id)]
        assert desk.of("unread") == []
        assert (await desk.call("leave", talk))["ok"]
    await town.send("last")
    await town.tenant.heard("message", 3)
    await asyncio.sleep(0.2)
    assert [len(desk.of("message")) for desk in (*desks, lurker)] == [2, 2, 0]
    for desk in (*desks, lurker):
        await desk.close()


async def test_a_raw_websocket_hears_what_other_nodes_send_in_its_own_words(town: Town) -> None:
    address = town.nodes[1].base_url
    raw = await RawDevice.open(town.http, address, town.chat, town.chat.landlord)
    talk = {"conversation_id": town.chat.id}
    await raw.send(type="message", content="Anybody there?")
    await raw.heard("message")
    assert (await town.tenant.call("join", talk))["ok"]
    assert (await town.tenant.call("typing", {**talk, "is_typing": True}))["ok"]
    assert (await town.tenant.call("read", {**talk, "seq": 1}))["ok"]
    await town.send("Yes")
    await raw.send(type="typing", is_typing=True)
    (typing,), (read,) = await raw.heard("typing"), await raw.heard("read_receipt")
    assert typing["data"]["user_id"] == typing["user_id"] == str(town.chat.tenant.id)
    assert [
        {"type": "read_receipt", **each, "data": each}
        for each in await town.tenant.heard("read_receipt")
    ] == [read]
    messages = [frame["data"] for frame in await raw.heard("message", 2)]
    assert messages == await town.tenant.heard("message", 2)
    assert (await town.tenant.heard("typing"))[0]["user_id"] == str(town.chat.landlord.id)
    await raw.close()


async def test_a_node_handles_only_what_concerns_its_rooms(town: Town) -> None:
    """Both on the first node: the second hears nothing of their talk but heartbeats."""
    tenant_too = await open_chat(town.rests[0], town.nodes[0].database_url)
    one = await town.device(0, tenant_too.tenant)
    other = await town.device(0, tenant_too.landlord)
    told = 0

    async def after_a_message() -> int:
        """What the second node has handled once it has had one more message."""
        nonlocal told
        told += 1
        await town.send()
        await town.landlord.heard("message", told)
        await town.landlord.heard("unread", told)
        return received(town.nodes[1])

    before = await after_a_message()
    each = await after_a_message() - before
    for _ in range(20):
        await one.call("message", {"conversation_id": tenant_too.id, "content": "x"})
    await other.heard("message", 20)
    assert await after_a_message() == before + 2 * each
    await one.close()
    await other.close()


def received(server: RunningServer) -> int:
    """How many messages of other nodes it has handled."""
    lines = server.node.metrics.render([])[0].decode().splitlines()
    return sum(
        int(float(line.split()[-1]))
        for line in lines
        if line.startswith("chat_backplane_received_total") and 'source="own"' not in line
    )


async def test_only_nodes_with_company_linger_between_commits(
    town: Town, database_url: str, redis: EmbeddedRedis
) -> None:
    def lingers(server: RunningServer) -> bool:
        return server.node.writer._group._linger() == LINGER

    await eventually(lambda: all(map(lingers, town.nodes)))
    async with (
        running_server(database_url) as without_redis,
        running_server(database_url, redis__url=redis.url, redis__prefix="other") as by_itself,
    ):
        assert not lingers(without_redis)
        assert not lingers(by_itself)


async def test_receipts_unread_edits_and_deletes_cross_over(town: Town) -> None:
    sent = await town.tenant.call("message", {"conversation_id": town.chat.id, "content": "a"})
    message_id = sent["message"]["id"]
    await town.landlord.heard("message")
    assert (await town.landlord.heard("unread"))[-1]["unread_count"] == 1
    await town.landlord.call("delivered", {"conversation_id": town.chat.id, "seq": 1})
    assert (await town.tenant.heard("delivery_receipt"))[0]["seq"] == 1
    await town.landlord.call("read", {"message_id": message_id})
    assert (await town.tenant.heard("read_receipt"))[0]["seq"] == 1
    assert (await town.landlord.heard("unread", 2))[-1]["unread_count"] == 0
    await town.tenant.call("edit", {"message_id": message_id, "content": "b"})
    assert (await town.landlord.heard("message_updated"))[0]["content"] == "b"
    await town.tenant.call("delete", {"message_id": message_id})
    assert (await town.landlord.heard("message_deleted"))[0]["is_deleted"]


async def test_typing_crosses_over_but_not_to_the_one_who_types(town: Town) -> None:
    elsewhere = await town.device(1, town.chat.tenant)
    for device in (town.tenant, town.landlord, elsewhere):
        assert (await device.call("join", {"conversation_id": town.chat.id}))["ok"]
    typing = {"conversation_id": town.chat.id, "is_typing": True}
    await asyncio.sleep(0.1)
    await town.tenant.call("typing", typing)
    assert (await town.landlord.heard("typing"))[0]["is_typing"]
    await asyncio.sleep(0.1)
    assert elsewhere.of("typing") == town.tenant.of("typing") == []
    await elsewhere.close()


async def test_rest_on_one_node_is_heard_on_the_other(town: Town) -> None:
    answer = await town.rests[1].send(town.chat.landlord, town.chat.id, content="by REST")
    assert answer.status == 201
    assert (await town.tenant.heard("message"))[0]["content"] == "by REST"


async def test_a_notice_reaches_everybody_or_those_whom_it_is_for(
    town: Town, database_url: str
) -> None:
    host = await add_person(database_url, Role.SERVICE)
    for notice in (
        {"content": "Back in five minutes"},
        {"content": "Just you", "user_ids": [str(town.chat.landlord.id)]},
    ):
        assert (await town.rests[0].post("notices", host, notice)).status == 202
    assert [each["content"] for each in await town.landlord.heard("notice", 2)] == [
        "Back in five minutes",
        "Just you",
    ]
    assert [each["content"] for each in await town.tenant.heard("notice")] == [
        "Back in five minutes"
    ]


@pytest.mark.parametrize(
    "forged",
    [
        b"not json",
        b"[]",
        b'{"method": "emit"}',
        b'{"method": "emit", "event": "x", "data": [1], "namespace": "/", "room": {"a": 1}}',
        b'{"method": ["emit"]}',
        b'{"method": "disconnect", "sid": []}',
        b"\x80\x04\x95\x00cos\nsystem\n.",
    ],
)
async def test_forged_bytes_hurt_nobody(town: Town, redis: EmbeddedRedis, forged: bytes) -> None:
    emitter = socketio.AsyncRedisManager(redis.url, write_only=True)
    emitter._redis_connect()
    me = uuid4().hex.encode()
    room = f"chat:user:{town.chat.landlord.id}"
    for channel in ("chat:socketio", "chat:nodes", room):
        await emitter.redis.publish(channel, forged)
        await emitter.redis.publish(channel, me + b":1\n" + forged)
        await emitter.redis.publish(channel, me + b':2\n[["a"],[]]\n' + forged)
        await emitter.redis.publish(channel, me + b':3\n[["a"],[1]]\n42["x",1]')
    answer = await town.tenant.call("message", {"conversation_id": town.chat.id, "content": "a"})
    assert answer["ok"]
    await town.landlord.heard("message")
    assert [
        name
        for name, _ in town.landlord.events
        if name not in ("conversation", "message", "unread", "head")
    ] == []
    await emitter.redis.aclose()
