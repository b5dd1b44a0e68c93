"""The objects of the wire: their schemas, which are documented, and how they are dumped.

Messages and events are dumped by functions instead of marshmallow, which takes ten
times as long; a test holds the two against each other.
"""

from typing import Any

from marshmallow import fields, validate

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
from chatserver.schemas.base import Boolean, Integer, Schema, Timestamp, timestamp


class AttachmentSchema(Schema):
    id = fields.UUID(required=True)
    conversation_id = fields.UUID(required=True)
    file_name = fields.String(required=True)
    content_type = fields.String(required=True)
    size = Integer(required=True)
    width = Integer(required=True, allow_none=True)
    height = Integer(required=True, allow_none=True)
    url = fields.String(required=True)
    thumbnail_url = fields.String(required=True, allow_none=True)


class UserSchema(Schema):
    id = fields.UUID(required=True)
    first_name = fields.String(required=True, allow_none=True)
    last_name = fields.String(required=True, allow_none=True)
    profile_picture_url = fields.String(required=True, allow_none=True)


class MessageSchema(Schema):
    id = fields.UUID(required=True)
    conversation_id = fields.UUID(required=True)
    seq = Integer(required=True, metadata={"description": "1, 2, 3 … without a gap"})
    rev = Integer(required=True, metadata={"description": "The change that it last got"})
    sender_id = fields.UUID(required=True)
    sender_role = fields.Enum(
        SenderRole,
        by_value=True,
        required=True,
        metadata={"description": "`service` and `admin` write without taking part"},
    )
    sender = fields.Nested(
        UserSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null for a participant, whose names the conversation has"},
    )
    message_type = fields.Enum(MessageType, by_value=True, required=True)
    content = fields.String(required=True)
    media_url = fields.String(required=True, allow_none=True)
    attachment = fields.Nested(AttachmentSchema, required=True, allow_none=True)
    status = fields.Enum(MessageStatus, by_value=True, required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)
    delivered_at = Timestamp(required=True, allow_none=True)
    read_at = Timestamp(required=True, allow_none=True)
    edited_at = Timestamp(required=True, allow_none=True)
    is_deleted = Boolean(required=True)
    client_msg_id = fields.UUID(required=True, allow_none=True)
    reply_to_seq = Integer(required=True, allow_none=True)


class ListingSchema(Schema):
    id = fields.UUID(required=True, allow_none=True)
    title = fields.String(required=True, allow_none=True)
    price = fields.Float(required=True, allow_none=True)
    currency = fields.String(required=True, allow_none=True)


class PeerPresenceSchema(Schema):
    is_online = Boolean(required=True)
    last_seen_at = Timestamp(required=True, allow_none=True)


class PresenceSchema(PeerPresenceSchema):
    user_id = fields.UUID(required=True)


class ConversationSchema(Schema):
    id = fields.UUID(required=True)
    listing_id = fields.UUID(required=True, allow_none=True)
    client_user_id = fields.UUID(required=True)
    owner_user_id = fields.UUID(required=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)
    last_message_at = Timestamp(required=True, allow_none=True)
    is_active = Boolean(required=True)
    archived_by_client = Boolean(required=True)
    archived_by_owner = Boolean(required=True)
    last_seq = Integer(required=True)
    rev = Integer(required=True)
    unread_count = Integer(required=True, metadata={"description": "The viewer's own"})
    read_seq = Integer(required=True, metadata={"description": "The viewer's own"})
    peer_read_seq = Integer(required=True)
    peer_delivered_seq = Integer(required=True)
    listing = fields.Nested(ListingSchema, required=True)
    client = fields.Nested(UserSchema, required=True)
    owner = fields.Nested(UserSchema, required=True)
    last_message = fields.Nested(MessageSchema, required=True, allow_none=True)
    peer_presence = fields.Nested(PeerPresenceSchema, required=True, allow_none=True)


class UnreadCountSchema(Schema):
    unread_count = Integer(required=True)


class StatusSchema(Schema):
    status = fields.String(required=True, validate=validate.Equal("success"))


class ReadStatusSchema(StatusSchema):
    message_id = fields.UUID(required=True)


class ErrorSchema(Schema):
    """The error of an acknowledgement and of `connect_error.data`."""

    code = fields.String(required=True)
    detail = fields.String(required=True)
    retryable = Boolean(required=True)
    retry_after = fields.Float()
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.List(fields.String()), data_key="fields"
    )


class ProblemSchema(ErrorSchema):
    """RFC 9457, `application/problem+json`"""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = Integer(required=True)
    request_id = fields.String(required=True)


def dump_message(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "conversation_id": str(message.conversation_id),
        "seq": message.seq,
        "rev": message.rev,
        "sender_id": str(message.sender_id),
        "sender_role": message.sender_role.value,
        "sender": None if message.sender is None else dump_user(message.sender),
        "message_type": message.message_type.value,
        "content": message.content,
        "media_url": message.media_url,
        "attachment": None,
        "status": message.status.value,
        "created_at": timestamp(message.created_at),
        "updated_at": timestamp(message.updated_at),
        "delivered_at": timestamp(message.delivered_at),
        "read_at": timestamp(message.read_at),
        "edited_at": timestamp(message.edited_at),
        "is_deleted": message.is_deleted,
        "client_msg_id": None if message.client_msg_id is None else str(message.client_msg_id),
        "reply_to_seq": message.reply_to_seq,
    }


def dump_conversation(conversation: Conversation) -> dict[str, Any]:
    last, peer = conversation.last_message, conversation.peer_presence
    return {
        "id": str(conversation.id),
        "listing_id": None if conversation.listing_id is None else str(conversation.listing_id),
        "client_user_id": str(conversation.client_user_id),
        "owner_user_id": str(conversation.owner_user_id),
        "created_at": timestamp(conversation.created_at),
        "updated_at": timestamp(conversation.updated_at),
        "last_message_at": timestamp(conversation.last_message_at),
        "is_active": conversation.is_active,
        "archived_by_client": conversation.archived_by_client,
        "archived_by_owner": conversation.archived_by_owner,
        "last_seq": conversation.last_seq,
        "rev": conversation.rev,
        "unread_count": conversation.unread_count,
        "read_seq": conversation.read_seq,
        "peer_read_seq": conversation.peer_read_seq,
        "peer_delivered_seq": conversation.peer_delivered_seq,
        "listing": _dump_listing(conversation.listing),
        "client": dump_user(conversation.client),
        "owner": dump_user(conversation.owner),
        "last_message": None if last is None else dump_message(last),
        "peer_presence": None
        if peer is None
        else {"is_online": peer.is_online, "last_seen_at": timestamp(peer.last_seen_at)},
    }


def dump_presence(presence: Presence) -> dict[str, Any]:
    return {
        "user_id": str(presence.user_id),
        "is_online": presence.is_online,
        "last_seen_at": timestamp(presence.last_seen_at),
    }


def _dump_listing(listing: Listing) -> dict[str, Any]:
    return {
        "id": None if listing.id is None else str(listing.id),
        "title": listing.title,
        "price": None if listing.price is None else float(listing.price),
        "currency": listing.currency,
    }


def dump_user(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "profile_picture_url": user.profile_picture_url,
    }
