"""The real socket.io-client: two people with two devices each talk about a listing."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from uuid import uuid4

import pytest

from chatserver.errors import InvalidPayload
from tests.kit.app import add_listing, add_person
from tests.kit.clients import TIMEOUT
from tests.kit.waiting import eventually
from tests.system.e2e.node_client import NodeClient
from tests.system.e2e.stage import TRANSPORTS, Stage, running_stage

GRACE = 0.5

HEARTBEAT = {"realtime__ping_interval": 1.0, "realtime__ping_timeout": 8.0}
"""Quick enough for a test to wait for the end of a lost polling client, and slow enough for
those that are not lost, however busy the machine."""


@pytest.fixture(params=TRANSPORTS, ids="+".join)
async def stage(
    request: pytest.FixtureRequest, js: NodeClient, database_url: str
) -> AsyncIterator[Stage]:
    async with running_stage(
        js, database_url, request.param, presence__offline_grace=GRACE
    ) as stage:
        yield stage


async def test_a_message_reaches_every_device_of_both_exactly_once(stage: Stage) -> None:
    await stage.join(*stage.devices)
    key = str(uuid4())
    answer = await stage.phone.ok(
        "message", {**stage.id, "content": "is it still free?", "client_msg_id": key}
    )
    message = answer["message"]
    assert not answer["duplicate"]
    assert (message["seq"], message["rev"], message["status"]) == (1, 1, "sent")
    assert (message["content"], message["client_msg_id"]) == ("is it still free?", key)
    assert message["sender_id"] == str(stage.chat.tenant.id)
    for device in stage.devices:
        await device.heard("message")
    await stage.settle()
    assert [device.of("message") for device in stage.devices] == [[message]] * 4


async def test_nobody_needs_to_join_for_messages(stage: Stage) -> None:
    message = await stage.send(stage.desk)
    for device in stage.devices:
        assert await device.heard("message") == message


async def test_a_repeated_message_is_answered_with_the_first_one_and_not_told_again(
    stage: Stage,
) -> None:
    body = {**stage.id, "content": "hello", "client_msg_id": str(uuid4())}
    first = await stage.phone.ok("message", body)
    again = await stage.laptop.ok("message", body)
    assert (again["message"], again["duplicate"]) == (first["message"], True)
    assert await stage.laptop.code("message", {**body, "content": "bye"}) == "idempotency_conflict"
    await stage.settle()
    assert [len(device.of("message")) for device in stage.devices] == [1] * 4


async def test_joining_answers_the_conversation_as_the_caller_sees_it(stage: Stage) -> None:
    message = await stage.send(stage.phone)
    seen = (await stage.desk.ok("join", stage.id))["conversation"]
    assert (seen["id"], seen["last_message"]) == (stage.chat.id, message)
    assert (seen["unread_count"], seen["peer_presence"]["is_online"]) == (1, True)
    own = (await stage.phone.ok("join", stage.id))["conversation"]
    assert own["unread_count"] == 0


async def test_typing_reaches_the_room_but_not_the_sender(stage: Stage) -> None:
    await stage.join(stage.phone, stage.laptop, stage.desk)
    await stage.phone.ok("typing", {**stage.id, "is_typing": True})
    typing = await stage.desk.heard("typing")
    assert typing.pop("timestamp").endswith("Z")
    assert typing == {**stage.id, "user_id": str(stage.chat.tenant.id), "is_typing": True}
    await stage.phone.ok("typing", {**stage.id, "is_typing": False})
    await stage.settle()
    assert [typing["is_typing"] for typing in stage.desk.of("typing")] == [True, False]
    for silent in (stage.phone, stage.laptop, stage.mobile):
        assert not silent.of("typing")
    assert await stage.mobile.code("typing", {**stage.id, "is_typing": True}) == "forbidden"


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_typing_is_taken_back_when_the_socket_vanishes(
    js: NodeClient, database_url: str, transports: list[str]
) -> None:
    async with running_stage(js, database_url, transports, **HEARTBEAT) as stage:
        await stage.join(stage.phone, stage.desk)
        await stage.phone.ok("typing", {**stage.id, "is_typing": True})
        await stage.desk.heard("typing")
        stage.cable.refuse()
        assert (await stage.desk.heard("typing", 2))["is_typing"] is False


async def test_typing_is_taken_back_by_leaving(stage: Stage) -> None:
    await stage.join(stage.phone, stage.desk)
    await stage.phone.ok("typing", {**stage.id, "is_typing": True})
    await stage.phone.ok("leave", stage.id)
    assert (await stage.desk.heard("typing", 2))["is_typing"] is False
    # Who has left hears no more of the room, and may not type there.
    await stage.desk.ok("typing", {**stage.id, "is_typing": True})
    assert await stage.phone.code("typing", {**stage.id, "is_typing": True}) == "forbidden"
    await stage.settle()
    assert not stage.phone.of("typing")


async def test_receipts_reach_both_and_unread_only_its_owner(stage: Stage) -> None:
    first, second = await stage.send(stage.phone), await stage.send(stage.phone)
    counts = {"unread_count": 2, "total_unread_count": 2, "version": 2}
    assert await stage.desk.heard("unread", 2) == {**stage.id, **counts}

    await stage.desk.ok("delivered", {**stage.id, "seq": 2})
    for device in stage.devices:
        receipt = await device.heard("delivery_receipt")
        assert receipt.pop("delivered_at").endswith("Z")
        assert receipt == {
            **stage.id, "message_id": second["id"], "seq": 2,
            "delivered_to": str(stage.chat.landlord.id), "rev": 3,
        }  # fmt: skip

    answer = await stage.mobile.ok("read", {"message_id": first["id"]})
    assert answer["unread_count"] == 1
    answer = await stage.mobile.ok("read", {**stage.id, "seq": 2})
    assert answer["unread_count"] == 0
    for device in stage.devices:
        receipt = await device.heard("read_receipt", 2)
        assert receipt.pop("read_at").endswith("Z")
        assert receipt == {
            **stage.id, "message_id": second["id"], "seq": 2,
            "read_by": str(stage.chat.landlord.id), "rev": 5,
        }  # fmt: skip
    await stage.settle()
    for device in (stage.desk, stage.mobile):
        assert [unread["unread_count"] for unread in device.of("unread")] == [1, 2, 1, 0]
    for device in (stage.phone, stage.laptop):
        assert not device.of("unread")


async def test_receipts_happen_once_and_never_by_themselves(stage: Stage) -> None:
    await stage.send(stage.phone)
    await stage.settle()
    assert not any(device.of("delivery_receipt") for device in stage.devices)
    await stage.desk.ok("read", {**stage.id, "seq": 1})
    await stage.desk.ok("read", {**stage.id, "seq": 1})
    await stage.mobile.ok("delivered", {**stage.id, "seq": 1})
    assert await stage.desk.code("read", {**stage.id, "seq": 2}) == "invalid_payload"
    await stage.settle()
    assert [len(device.of("read_receipt")) for device in stage.devices] == [1] * 4
    # Reading says that it was delivered; there is no second event for that.
    assert not any(device.of("delivery_receipt") for device in stage.devices)


async def test_edits_and_deletions_reach_every_device_once(stage: Stage) -> None:
    message = await stage.send(stage.phone, "tomorow")
    edit = {"message_id": message["id"], "content": "tomorrow"}
    edited = (await stage.laptop.ok("edit", edit))["message"]
    assert (edited["content"], edited["seq"], edited["rev"]) == ("tomorrow", 1, 2)
    assert edited["edited_at"]
    assert await stage.desk.code("edit", edit) == "forbidden"
    assert await stage.desk.code("delete", {"message_id": message["id"]}) == "forbidden"
    await stage.phone.ok("delete", {"message_id": message["id"]})
    for device in stage.devices:
        gone = await device.heard("message_deleted")
        assert (gone["id"], gone["content"], gone["is_deleted"]) == (message["id"], "", True)
        assert gone["rev"] == 3
    await stage.settle()
    for device in stage.devices:
        assert device.of("message_updated") == [edited]
        assert len(device.of("message_deleted")) == 1
    assert (await stage.desk.heard("unread", 2))["unread_count"] == 0


async def test_a_new_and_an_archived_conversation_are_told_to_those_concerned(
    stage: Stage,
) -> None:
    listing_id = await add_listing(stage.server.database_url, stage.chat.tenant)
    opened = await stage.rest.post(
        "conversations", stage.chat.landlord, {"listing_id": str(listing_id)}
    )
    # The first one is that of the stage, which was opened before anyone connected.
    conversation_id = opened.body["id"]
    for device in (stage.desk, stage.mobile):
        assert (await device.heard("conversation"))["id"] == conversation_id
    await stage.rest.send(stage.chat.landlord, conversation_id, content="Is yours free?")
    for device in (stage.phone, stage.laptop):
        assert (await device.heard("conversation"))["id"] == conversation_id
        await device.heard("message")
        names = [name for name, _ in device.happenings if name in ("conversation", "message")]
        assert names == ["conversation", "message"]
    path = f"conversations/{stage.chat.id}/archive"
    await stage.rest.call("PATCH", path, stage.chat.tenant, {})
    for device in (stage.phone, stage.laptop):
        assert (await device.heard("conversation", 2))["archived_by_client"] is True
    await stage.settle()
    assert [len(device.of("conversation")) for device in stage.devices] == [2, 2, 1, 1]


async def test_presence_changes_with_the_first_and_the_last_device(stage: Stage) -> None:
    chat = stage.chat
    await stage.join(stage.phone, stage.desk)
    await stage.phone.close()
    await asyncio.sleep(3 * GRACE)  # The laptop is still there.
    assert not stage.desk.of("presence")
    await stage.laptop.close()
    gone = await stage.desk.heard("presence")
    assert (gone["user_id"], gone["is_online"]) == (str(chat.tenant.id), False)
    assert gone["last_seen_at"] and gone["timestamp"]
    path = f"users/{chat.tenant.id}/presence"
    await stage.rest.send(chat.tenant, chat.id, content="Until tomorrow")
    assert (await stage.rest.get(path, chat.landlord)).body["is_online"] is False
    await stage.js.connected(stage.server.base_url, chat.tenant, transports=stage.transports)
    assert (await stage.desk.heard("presence", 2))["is_online"] is True
    assert not stage.mobile.of("presence")  # It is not in the room.
    assert (await stage.rest.get(path, chat.landlord)).body["is_online"] is True


async def test_a_page_reload_within_the_grace_is_not_told(
    js: NodeClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    websocket, grace = TRANSPORTS[0], 60.0
    patient = {"presence__offline_grace": grace, "presence__lease_ttl": 3 * grace}
    async with running_stage(js, database_url, websocket, **patient) as stage:
        node, tenant = stage.server.node, stage.chat.tenant
        await stage.join(stage.desk)
        await stage.laptop.close()
        await stage.phone.close()
        await eventually(lambda: tenant.id not in dict(node.open_sessions.open_sockets()), TIMEOUT)
        await node.presence.expire()
        await js.connected(stage.server.base_url, tenant, transports=websocket)
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + grace)
        monkeypatch.setattr("chatserver.backplane.memory.time", later)
        await node.presence.expire()
        await stage.settle_of(stage.desk)
        assert not stage.desk.of("presence")


async def test_an_event_that_fails_without_asking_for_an_answer_gets_an_error_event(
    stage: Stage,
) -> None:
    await stage.phone.emit("join", {"conversation_id": 7})
    error = await stage.phone.heard("error")
    assert error == InvalidPayload(fields={"conversation_id": ["Not a valid UUID."]}).to_dict()
    await stage.phone.emit("nonsense", {})
    assert (await stage.phone.heard("error", 2))["code"] == "unknown_event"
    await stage.phone.emit("join", stage.id)
    assert await stage.phone.code("nonsense", {}) == "unknown_event"
    assert len(stage.phone.of("error")) == 2


async def test_what_is_not_ones_own_is_not_there(stage: Stage, js: NodeClient) -> None:
    message = await stage.send(stage.phone)
    stranger = await js.connected(
        stage.server.base_url,
        await add_person(stage.server.database_url),
        transports=stage.transports,
    )
    for event, payload in (
        ("join", stage.id),
        ("leave", stage.id),
        ("message", {**stage.id, "content": "hello"}),
        ("edit", {"message_id": message["id"], "content": "hello"}),
        ("delete", {"message_id": message["id"]}),
        ("typing", {**stage.id, "is_typing": True}),
        ("delivered", {**stage.id, "seq": 1}),
        ("read", {**stage.id, "seq": 1}),
        ("read", {"message_id": message["id"]}),
    ):
        foreign = await stranger.call(event, payload)
        unknown = {key: str(uuid4()) for key in payload if key.endswith("_id")}
        assert foreign == await stranger.call(event, {**payload, **unknown})
        assert foreign["error"]["code"] == "not_found"
    await stage.settle()
    assert len(stranger.happenings) == 1
