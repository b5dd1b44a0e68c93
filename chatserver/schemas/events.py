"""The events that the server sends: their schemas, by which they are documented and dumped."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from marshmallow import fields

from chatserver.events import (
    DeliveryReceipt,
    HeadMoved,
    NoticeSent,
    PresenceChanged,
    ReadReceipt,
    TypingChanged,
    UnreadChanged,
)
from chatserver.schemas.base import Boolean, Integer, Schema, Timestamp, timestamp
from chatserver.schemas.dumps import dump_function
from chatserver.schemas.objects import (
    ConversationSchema,
    ErrorSchema,
    MessageSchema,
    PresenceSchema,
    dump_presence,
)


class TypingSchema(Schema):
    conversation_id = fields.UUID(required=True)
    user_id = fields.UUID(required=True)
    is_typing = Boolean(required=True)
    timestamp = Timestamp(required=True)


class PresenceEventSchema(PresenceSchema):
    timestamp = Timestamp(required=True)


class DeliveryReceiptSchema(Schema):
    conversation_id = fields.UUID(required=True)
    message_id = fields.UUID(required=True)
    seq = Integer(required=True)
    delivered_to = fields.UUID(required=True)
    delivered_at = Timestamp(required=True)
    rev = Integer(required=True)


class ReadReceiptSchema(Schema):
    conversation_id = fields.UUID(required=True)
    message_id = fields.UUID(required=True)
    seq = Integer(required=True)
    read_by = fields.UUID(required=True)
    read_at = Timestamp(required=True)
    rev = Integer(required=True)


class UnreadSchema(Schema):
    conversation_id = fields.UUID(required=True)
    unread_count = Integer(required=True)
    total_unread_count = Integer(required=True)
    version = Integer(required=True)


class HeadSchema(Schema):
    conversation_id = fields.UUID(required=True)
    last_seq = Integer(required=True)
    rev = Integer(required=True)


class NoticeSchema(Schema):
    content = fields.String(required=True)
    data = fields.Dict(
        keys=fields.String(), values=fields.Raw(allow_none=True), required=True, allow_none=True
    )
    timestamp = Timestamp(required=True)


EVENTS: Mapping[str, type[Schema]] = {
    "message": MessageSchema,
    "message_updated": MessageSchema,
    "message_deleted": MessageSchema,
    "conversation": ConversationSchema,
    "typing": TypingSchema,
    "presence": PresenceEventSchema,
    "delivery_receipt": DeliveryReceiptSchema,
    "read_receipt": ReadReceiptSchema,
    "unread": UnreadSchema,
    "head": HeadSchema,
    "notice": NoticeSchema,
    "error": ErrorSchema,
}
"""The payload of each event that the server sends."""


dump_typing: Final[Callable[[TypingChanged], dict[str, Any]]] = dump_function(TypingSchema)
dump_delivery_receipt: Final[Callable[[DeliveryReceipt], dict[str, Any]]] = dump_function(
    DeliveryReceiptSchema
)
dump_read_receipt: Final[Callable[[ReadReceipt], dict[str, Any]]] = dump_function(ReadReceiptSchema)
dump_unread: Final[Callable[[UnreadChanged], dict[str, Any]]] = dump_function(UnreadSchema)
dump_head: Final[Callable[[HeadMoved], dict[str, Any]]] = dump_function(HeadSchema)
dump_notice: Final[Callable[[NoticeSent], dict[str, Any]]] = dump_function(NoticeSchema)


def dump_presence_event(event: PresenceChanged) -> dict[str, Any]:
    return {**dump_presence(event.presence), "timestamp": timestamp(event.timestamp)}
