"""From events to rooms and payloads: the publisher of a node."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

from chatserver.events import (
    ConversationChanged,
    DeliveryReceipt,
    Event,
    HeadMoved,
    MessageDeleted,
    MessageSent,
    MessageUpdated,
    NoticeSent,
    PresenceChanged,
    ReadReceipt,
    TypingChanged,
    UnreadChanged,
)
from chatserver.realtime.room_names import (
    conversation_room,
    presence_room,
    privileged_room,
    user_room,
)
from chatserver.schemas import events as dumps
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.objects import dump_conversation
from chatserver.sio.adapter import EVERYONE, Adapter
from chatserver.telemetry.metrics import Metrics

# So many events are sent before others of the loop have their turn.
BURST: Final = 200


class SocketPublisher:
    """A `Publisher` that sends to sockets by their rooms, in the order of the calls.

    It sends in a later turn of the loop: whoever waits for the acknowledgement of
    the same commit comes first.
    """

    def __init__(self, adapter: Adapter, metrics: Metrics, encoder: MessageEncoder) -> None:
        self._adapter = adapter
        self._encoder = encoder
        self._metrics = metrics
        self._waiting: deque[Event] = deque()
        self._is_scheduled = False
        self._log = structlog.get_logger(__name__)
        self._senders: Mapping[type, Callable[[Any], None]] = {
            MessageSent: self._message_sent,
            MessageUpdated: self._message_updated,
            MessageDeleted: self._message_deleted,
            ConversationChanged: self._conversation_changed,
            TypingChanged: self._typing_changed,
            PresenceChanged: self._presence_changed,
            DeliveryReceipt: self._delivery_receipt,
            ReadReceipt: self._read_receipt,
            UnreadChanged: self._unread_changed,
            HeadMoved: self._head_moved,
            NoticeSent: self._notice_sent,
        }

    def __len__(self) -> int:
        return len(self._waiting)

    def publish(self, event: Event) -> None:
        self._waiting.append(event)
        self._schedule()

    def flush(self) -> None:
        """Send all that waits, now."""
        while self._waiting:
            self._send(self._waiting.popleft())

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        self._is_scheduled = False
        for _ in range(min(BURST, len(self._waiting))):
            self._send(self._waiting.popleft())
        if self._waiting:
            self._schedule()

    def _send(self, event: Event) -> None:
        try:
            self._senders[type(event)](event)
        except Exception:
            # One event that cannot be sent must not keep the others.
            self._log.exception("publish_failed", kind=type(event).__name__)

    def _message_sent(self, event: MessageSent) -> None:
        message = event.message
        # The sender first: other nodes then get the others' `unread` along with it.
        users = sorted(event.member_ids, key=message.sender_id.__ne__)
        self._tell("message", self._encoder.encode(message), message.conversation_id, users)
        age = (datetime.now(UTC) - message.created_at).total_seconds()
        self._metrics.message_delivered(max(age, 0.0))

    def _message_updated(self, event: MessageUpdated) -> None:
        self._message_changed("message_updated", event)

    def _message_deleted(self, event: MessageDeleted) -> None:
        self._message_changed("message_deleted", event)

    def _message_changed(self, name: str, event: MessageUpdated | MessageDeleted) -> None:
        payload, conversation_id = (
            self._encoder.encode(event.message),
            event.message.conversation_id,
        )
        self._tell(name, payload, conversation_id, event.member_ids)

    def _conversation_changed(self, event: ConversationChanged) -> None:
        for user_id, view in event.views.items():
            self._adapter.emit_now("conversation", dump_conversation(view), [user_room(user_id)])
        if (shown := event.visitors_view) is not None:
            self._adapter.emit_now(
                "conversation",
                dump_conversation(shown),
                [privileged_room(shown.id)],
                skip=[user_room(user_id) for user_id in event.views],
                channels=[user_room(shown.client_user_id)],
            )

    def _typing_changed(self, event: TypingChanged) -> None:
        users = event.member_ids
        self._adapter.emit_now(
            "typing",
            dumps.dump_typing(event),
            [conversation_room(event.conversation_id)],
            skip=[user_room(event.user_id)],
            among=None if users is None else _rooms(event.conversation_id, users),
        )

    def _presence_changed(self, event: PresenceChanged) -> None:
        self._adapter.emit_now(
            "presence",
            dumps.dump_presence_event(event),
            [presence_room(event.presence.user_id)],
        )

    def _delivery_receipt(self, event: DeliveryReceipt) -> None:
        payload = dumps.dump_delivery_receipt(event)
        self._tell("delivery_receipt", payload, event.conversation_id, event.member_ids)

    def _read_receipt(self, event: ReadReceipt) -> None:
        payload = dumps.dump_read_receipt(event)
        self._tell("read_receipt", payload, event.conversation_id, event.member_ids)

    def _unread_changed(self, event: UnreadChanged) -> None:
        emit = self._adapter.emit_local if event.is_local else self._adapter.emit_now
        emit("unread", dumps.dump_unread(event), [user_room(event.user_id)])

    def _head_moved(self, event: HeadMoved) -> None:
        self._metrics.resync_hint()
        payload, users = dumps.dump_head(event), event.member_ids
        if event.is_local:
            self._adapter.emit_local("head", payload, _rooms(event.conversation_id, users))
        else:
            self._tell("head", payload, event.conversation_id, users)

    def _notice_sent(self, event: NoticeSent) -> None:
        users = event.user_ids
        rooms = [EVERYONE] if users is None else [user_room(user) for user in users]
        self._adapter.emit_now("notice", dumps.dump_notice(event), rooms)

    def _tell(self, name: str, payload: Any, conversation_id: UUID, users: Sequence[UUID]) -> None:
        """Send what happened in a conversation to those whom the change itself names, and to
        who is privileged and has joined."""
        rooms = _rooms(conversation_id, users)
        self._adapter.emit_now(name, payload, rooms, channels=rooms[:-1])


def _rooms(conversation_id: UUID, users: Sequence[UUID]) -> list[str]:
    return [*map(user_room, users), privileged_room(conversation_id)]
