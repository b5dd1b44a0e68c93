"""The events that the server sends: their schemas, and how they are dumped."""

from collections.abc import Mapping
from typing import Any

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


def dump_typing(event: TypingChanged) -> dict[str, Any]:
    return {
        "conversation_id": str(event.conversation_id),
        "user_id": str(event.user_id),
        "is_typing": event.is_typing,
        "timestamp": timestamp(event.timestamp),
    }


def dump_presence_event(event: PresenceChanged) -> dict[str, Any]:
    return {**dump_presence(event.presence), "timestamp": timestamp(event.timestamp)}


def dump_delivery_receipt(event: DeliveryReceipt) -> dict[str, Any]:
    return {
        "conversation_id": str(event.conversation_id),
        "message_id": str(event.message_id),
        "seq": event.seq,
        "delivered_to": str(event.delivered_to),
        "delivered_at": timestamp(event.delivered_at),
        "rev": event.rev,
    }


def dump_read_receipt(event: ReadReceipt) -> dict[str, Any]:
    return {
        "conversation_id": str(event.conversation_id),
        "message_id": str(event.message_id),
        "seq": event.seq,
        "read_by": str(event.read_by),
        "read_at": timestamp(event.read_at),
        "rev": event.rev,
    }


def dump_unread(event: UnreadChanged) -> dict[str, Any]:
    return {
        "conversation_id": str(event.conversation_id),
        "unread_count": event.unread_count,
        "total_unread_count": event.total_unread_count,
        "version": event.version,
    }


def dump_head(event: HeadMoved) -> dict[str, Any]:
    return {
        "conversation_id": str(event.conversation_id),
        "last_seq": event.last_seq,
        "rev": event.rev,
    }


def dump_notice(event: NoticeSent) -> dict[str, Any]:
    return {
        "content": event.content,
        "data": None if event.data is None else dict(event.data),
        "timestamp": timestamp(event.timestamp),
    }
