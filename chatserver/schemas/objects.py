"""The objects of the wire: their schemas, by which they are documented and dumped."""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import fields, validate

from chatserver.models import (
    Conversation,
    MemberRole,
    Message,
    MessageStatus,
    MessageType,
    Participant,
    Presence,
    SenderRole,
    User,
)
from chatserver.schemas.base import Boolean, Integer, Schema, Timestamp
from chatserver.schemas.dumps import dump_function


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
        metadata={"description": "What the sender was; `service` and `admin` take no part"},
    )
    sender = fields.Nested(
        UserSchema,
        required=True,
        allow_none=True,
        metadata={
            "description": "null for the client and the owner, whose names the conversation has"
        },
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


class ParticipantSchema(Schema):
    user_id = fields.UUID(required=True)
    role = fields.Enum(MemberRole, by_value=True, required=True)
    first_name = fields.String(required=True, allow_none=True)
    last_name = fields.String(required=True, allow_none=True)
    profile_picture_url = fields.String(required=True, allow_none=True)
    delivered_seq = Integer(required=True)
    read_seq = Integer(required=True)
    joined_seq = Integer(
        required=True, metadata={"description": "Nothing up to it is unread to them"}
    )
    joined_at = Timestamp(required=True)


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
    peer_read_seq = Integer(
        required=True, metadata={"description": "The furthest of the other side"}
    )
    peer_delivered_seq = Integer(required=True)
    listing = fields.Nested(ListingSchema, required=True)
    client = fields.Nested(UserSchema, required=True)
    owner = fields.Nested(UserSchema, required=True)
    participants = fields.List(
        fields.Nested(ParticipantSchema),
        required=True,
        metadata={"description": "Client and owner first"},
    )
    assigned_user_id = fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "Who of the owner's side answers"},
    )
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


dump_user: Final[Callable[[User], dict[str, Any]]] = dump_function(UserSchema)
dump_message: Final[Callable[[Message], dict[str, Any]]] = dump_function(MessageSchema)
dump_presence: Final[Callable[[Presence], dict[str, Any]]] = dump_function(PresenceSchema)
dump_conversation: Final[Callable[[Conversation], dict[str, Any]]] = dump_function(
    ConversationSchema
)
dump_participant: Final[Callable[[Participant], dict[str, Any]]] = dump_function(ParticipantSchema)
