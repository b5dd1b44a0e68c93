"""The publisher: who hears of what, once each, in order, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from chatserver import events
from chatserver.models import (
    Conversation,
    Listing,
    Message,
    MessageStatus,
    MessageType,
    Presence,
    SenderRole,
    User,
)
from chatserver.realtime.publisher import BURST, SocketPublisher
from chatserver.realtime.room_names import (
    conversation_room,
    presence_room,
    privileged_room,
    user_room,
)
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.objects import dump_conversation, dump_message
from chatserver.telemetry.metrics import Metrics
from tests.unit.realtime.wire import Node, WebSocketClient, running_node

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TIME = "2026-01-31T12:00:00.000000Z"
TENANT, LANDLORD, CHAT = uuid4(), uuid4(), uuid4()
BOTH = (TENANT, LANDLORD)


def message(seq: int = 1) -> Message:
    return Message(
        id=uuid4(),
        conversation_id=CHAT,
        seq=seq,
        rev=seq,
        sender_id=TENANT,
        sender_role=SenderRole.CLIENT,
        message_type=MessageType.TEXT,
        content="hello",
        media_url=None,
        status=MessageStatus.SENT,
        created_at=NOW,
        updated_at=NOW,
        delivered_at=None,
        read_at=None,
        edited_at=None,
        is_deleted=False,
        client_msg_id=None,
        reply_to_seq=None,
    )


def view(unread_count: int) -> Conversation:
    return Conversation(
        id=CHAT,
        listing_id=None,
        client_user_id=TENANT,
        owner_user_id=LANDLORD,
        created_at=NOW,
        updated_at=NOW,
        last_message_at=None,
        is_active=True,
        archived_by_client=False,
        archived_by_owner=False,
        last_seq=0,
        rev=0,
        unread_count=unread_count,
        read_seq=0,
        peer_read_seq=0,
        peer_delivered_seq=0,
        listing=Listing(None, None, None, None),
        client=User(TENANT, None, None, None),
        owner=User(LANDLORD, None, None, None),
        last_message=None,
        participants=[],
        assigned_user_id=None,
        peer_presence=None,
    )


class Audience:
    """The tenant with a phone in the conversation's room and a laptop outside it, the
    landlord with a desk in the room, and a stranger. Each knows what it has heard."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.metrics = Metrics()
        self.publisher = SocketPublisher(node.adapter, self.metrics, MessageEncoder())
        self.clients: dict[str, WebSocketClient] = {}

    async def seat(self, name: str, user_id: UUID, *rooms: str) -> None:
        client = self.clients[name] = await self.node.connected()
        for room in (user_room(user_id), *rooms):
            await self.node.server.enter_room(client.sid, room)

    async def heard(self) -> dict[str, list[tuple[str, Any]]]:
        """All that each has been sent, which is over when a last event arrives."""
        self.publisher.flush()
        for client in self.clients.values():
            self.node.adapter.emit_now("end", None, [client.sid])
        return {name: await _listen(client) for name, client in self.clients.items()}

    async def hearers(self) -> set[str]:
        return {name for name, heard in (await self.heard()).items() if heard}


async def _listen(client: WebSocketClient) -> list[tuple[str, Any]]:
    heard = []
    while (packet := await client.receive()) != '42["end",null]':
        name, payload = json.loads(packet.removeprefix("42"))
        heard.append((name, payload))
    return heard


@pytest.fixture
async def audience() -> AsyncIterator[Audience]:
    async with running_node() as node, AsyncExitStack() as stack:
        audience = Audience(node)
        await audience.seat("phone", TENANT, conversation_room(CHAT))
        await audience.seat("laptop", TENANT)
        await audience.seat("desk", LANDLORD, conversation_room(CHAT))
        await audience.seat("stranger", uuid4(), conversation_room(uuid4()))
        for client in audience.clients.values():
            await stack.enter_async_context(client)
        yield audience


RECEIPT = {
    "conversation_id": str(CHAT),
    "message_id": str(UUID(int=1)),
    "seq": 3,
    "rev": 9,
}


@pytest.mark.parametrize(
    ("event", "name", "payload"),
    [
        (events.MessageSent(sent := message(), BOTH), "message", dump_message(sent)),
        (events.MessageUpdated(sent, BOTH), "message_updated", dump_message(sent)),
        (events.MessageDeleted(sent, BOTH), "message_deleted", dump_message(sent)),
        (
            events.DeliveryReceipt(CHAT, UUID(int=1), 3, LANDLORD, NOW, 9, BOTH),
            "delivery_receipt",
            {**RECEIPT, "delivered_to": str(LANDLORD), "delivered_at": TIME},
        ),
        (
            events.ReadReceipt(CHAT, UUID(int=1), 3, LANDLORD, NOW, 9, BOTH),
            "read_receipt",
            {**RECEIPT, "read_by": str(LANDLORD), "read_at": TIME},
        ),
        (
            events.HeadMoved(CHAT, 3, 9, BOTH),
            "head",
            {"conversation_id": str(CHAT), "last_seq": 3, "rev": 9},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_concerns_both_reaches_every_device_of_both_once(
    audience: Audience, event: events.Event, name: str, payload: Any
) -> None:
    audience.publisher.publish(event)
    heard = await audience.heard()
    for device in ("phone", "laptop", "desk"):
        assert heard[device] == [(name, payload)]
    assert heard["stranger"] == []
    metrics = audience.metrics.render(["text/plain"])[0].decode()
    assert f"chat_resync_hints_total {int(name == 'head')}\n" in metrics


async def test_each_participant_gets_their_own_view_of_a_conversation(audience: Audience) -> None:
    tenant, landlord = view(0), view(4)
    audience.publisher.publish(events.ConversationChanged({TENANT: tenant, LANDLORD: landlord}))
    heard = await audience.heard()
    assert heard["phone"] == heard["laptop"] == [("conversation", dump_conversation(tenant))]
    assert heard["desk"] == [("conversation", dump_conversation(landlord))]
    audience.publisher.publish(events.ConversationChanged({TENANT: tenant}))
    assert await audience.hearers() == {"phone", "laptop"}


async def test_unread_counts_reach_their_owner_alone(audience: Audience) -> None:
    audience.publisher.publish(events.UnreadChanged(LANDLORD, CHAT, 2, 5, version=1))
    heard = await audience.heard()
    payload = {
        "conversation_id": str(CHAT),
        "unread_count": 2,
        "total_unread_count": 5,
        "version": 1,
    }
    assert heard.pop("desk") == [("unread", payload)]
    assert not any(heard.values())


async def test_a_notice_reaches_everybody_or_the_devices_of_some(audience: Audience) -> None:
    payload = {"content": "Down at 14:00", "data": {"kind": "outage"}, "timestamp": TIME}
    for users, hearers in (
        (None, set(audience.clients)),
        ((TENANT, uuid4(), TENANT), {"phone", "laptop"}),
    ):
        notice = events.NoticeSent("Down at 14:00", {"kind": "outage"}, NOW, users)
        audience.publisher.publish(notice)
        heard = await audience.heard()
        assert {name for name, told in heard.items() if told} == hearers
        assert all(heard[name] == [("notice", payload)] for name in hearers)


async def test_typing_reaches_the_room_but_no_socket_of_the_one_who_types(
    audience: Audience,
) -> None:
    audience.publisher.publish(events.TypingChanged(CHAT, TENANT, True, NOW))
    heard = await audience.heard()
    payload = {
        "conversation_id": str(CHAT), "user_id": str(TENANT), "is_typing": True,
        "timestamp": TIME,
    }  # fmt: skip
    assert heard.pop("desk") == [("typing", payload)]
    assert not any(heard.values())


async def test_a_visitor_who_joined_hears_what_happens_once_and_nobodys_counters(
    audience: Audience,
) -> None:
    """So does one who takes part, too; whom the change does not name hears no typing."""
    visit = conversation_room(CHAT), privileged_room(CHAT)
    await audience.seat("visitor", uuid4(), *visit)
    await audience.seat("privileged desk", LANDLORD, *visit)
    for event in (
        events.MessageSent(message(), BOTH),
        events.MessageUpdated(message(), BOTH),
        events.MessageDeleted(message(), BOTH),
        events.DeliveryReceipt(CHAT, UUID(int=1), 3, LANDLORD, NOW, 9, BOTH),
        events.ReadReceipt(CHAT, UUID(int=1), 3, LANDLORD, NOW, 9, BOTH),
        events.HeadMoved(CHAT, 3, 9, BOTH),
        events.HeadMoved(CHAT, 3, 9, BOTH, is_local=True),
        events.ConversationChanged({LANDLORD: view(4)}, view(0)),
        events.TypingChanged(CHAT, TENANT, True, NOW, member_ids=(TENANT,)),
        events.TypingChanged(CHAT, TENANT, True, NOW, member_ids=BOTH),
    ):
        audience.publisher.publish(event)
    audience.publisher.publish(events.UnreadChanged(TENANT, CHAT, 2, 5, version=1))
    heard = await audience.heard()
    happened = [
        *("message", "message_updated", "message_deleted", "delivery_receipt", "read_receipt"),
        *("head", "head"),
    ]
    names = {device: [name for name, _ in told] for device, told in heard.items()}
    assert names == {
        "phone": [*happened, "unread"],
        "laptop": [*happened, "unread"],
        "desk": [*happened, "conversation", "typing"],
        "privileged desk": [*happened, "conversation", "typing", "typing"],
        "visitor": [*happened, "conversation", "typing", "typing"],
        "stranger": [],
    }
    assert dict(heard["visitor"])["conversation"] == dump_conversation(view(0))
    assert dict(heard["privileged desk"])["conversation"] == dump_conversation(view(4))


async def test_presence_reaches_those_who_are_in_a_room_with_the_user(audience: Audience) -> None:
    await audience.node.server.enter_room(audience.clients["desk"].sid, presence_room(TENANT))
    audience.publisher.publish(events.PresenceChanged(Presence(TENANT, True, NOW), NOW))
    audience.publisher.publish(events.PresenceChanged(Presence(LANDLORD, True, NOW), NOW))
    heard = await audience.heard()
    payload = {
        "user_id": str(TENANT), "is_online": True, "last_seen_at": TIME, "timestamp": TIME,
    }  # fmt: skip
    assert heard.pop("desk") == [("presence", payload)]
    assert not any(heard.values())


async def test_events_are_sent_in_order_and_not_before_the_caller_is_done(
    audience: Audience,
) -> None:
    count = 2 * BURST + 50
    for seq in range(1, count + 1):
        audience.publisher.publish(events.MessageSent(message(seq), BOTH))
    assert len(audience.publisher) == count
    turns = 0
    while len(audience.publisher):
        await asyncio.sleep(0)
        turns += 1
    # In several turns of the loop, so that others are not kept waiting by many events.
    assert turns > count // BURST
    heard = await audience.heard()
    for device in ("phone", "laptop", "desk"):
        assert [payload["seq"] for _, payload in heard[device]] == list(range(1, count + 1))


async def test_an_event_that_cannot_be_sent_does_not_keep_the_others(audience: Audience) -> None:
    with capture_logs() as logs:
        audience.publisher.publish(events.MessageSent(cast("Message", None), BOTH))
        audience.publisher.publish(events.MessageSent(message(), BOTH))
        assert await audience.hearers() == {"phone", "laptop", "desk"}
    assert [(log["event"], log["kind"]) for log in logs] == [("publish_failed", "MessageSent")]
