"""From events to rooms and payloads: the publisher of a node."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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
from chatserver.schemas import events as dumps
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.objects import dump_conversation
from chatserver.sio.adapter import EVERYONE, conversation_room, presence_room, user_room
from chatserver.sio.server import ChatSocketServer
from chatserver.telemetry.metrics import Metrics

# So many events are sent before others of the loop have their turn.
BURST: Final = 200


class SocketPublisher:
    """A `Publisher` that sends to sockets by their rooms, in the order of the calls.

    It sends in a later turn of the loop: whoever waits for the acknowledgement of
    the same commit comes first.
    """

    def __init__(self, server: ChatSocketServer, metrics: Metrics, encoder: MessageEncoder) -> None:
        self._server = server
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
        users = event.member_ids
        if users[-1] == event.message.sender_id:
            # The recipient last: other nodes then get their `unread` along with it.
            users = users[::-1]
        self._to_users("message", self._encoder.encode(event.message), users)
        age = (datetime.now(UTC) - event.message.created_at).total_seconds()
        self._metrics.message_delivered(max(age, 0.0))

    def _message_updated(self, event: MessageUpdated) -> None:
        self._to_users("message_updated", self._encoder.encode(event.message), event.member_ids)

    def _message_deleted(self, event: MessageDeleted) -> None:
        self._to_users("message_deleted", self._encoder.encode(event.message), event.member_ids)

    def _conversation_changed(self, event: ConversationChanged) -> None:
        for user_id, view in event.views.items():
            self._server.emit_now("conversation", dump_conversation(view), [user_room(user_id)])

    def _typing_changed(self, event: TypingChanged) -> None:
        self._server.emit_now(
            "typing",
            dumps.dump_typing(event),
            [conversation_room(event.conversation_id)],
            skip=[user_room(event.user_id)],
        )

    def _presence_changed(self, event: PresenceChanged) -> None:
        self._server.emit_now(
            "presence",
            dumps.dump_presence_event(event),
            [presence_room(event.presence.user_id)],
        )

    def _delivery_receipt(self, event: DeliveryReceipt) -> None:
        self._to_users("delivery_receipt", dumps.dump_delivery_receipt(event), event.member_ids)

    def _read_receipt(self, event: ReadReceipt) -> None:
        self._to_users("read_receipt", dumps.dump_read_receipt(event), event.member_ids)

    def _unread_changed(self, event: UnreadChanged) -> None:
        self._emitter(event)("unread", dumps.dump_unread(event), [user_room(event.user_id)])

    def _head_moved(self, event: HeadMoved) -> None:
        self._metrics.resync_hint()
        rooms = [user_room(user) for user in event.member_ids]
        self._emitter(event)("head", dumps.dump_head(event), rooms)

    def _emitter(self, event: UnreadChanged | HeadMoved) -> Callable[[str, Any, list[str]], int]:
        return self._server.emit_local if event.is_local else self._server.emit_now

    def _notice_sent(self, event: NoticeSent) -> None:
        users = event.user_ids
        rooms = [EVERYONE] if users is None else [user_room(user) for user in users]
        self._server.emit_now("notice", dumps.dump_notice(event), rooms)

    def _to_users(self, name: str, payload: Any, users: Iterable[UUID]) -> None:
        self._server.emit_now(name, payload, [user_room(user) for user in users])
