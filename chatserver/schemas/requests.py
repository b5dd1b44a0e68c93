"""Schemas of what clients send: bodies, queries and event payloads, one for each."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate, validates_schema

from chatserver.models import MemberRole, MessageType, Position
from chatserver.schemas.base import (
    MAX_SEQ,
    Boolean,
    Integer,
    Schema,
    Timestamp,
    sequence_number,
    timestamp,
)
from chatserver.services.messages import Draft

# Far above what the content rules let pass: they count after normalising.
MAX_RAW_CONTENT = 100_000
MAX_URL = 2048
MAX_TOKEN = 16_384
MAX_SKIP = 1_000_000
MAX_POSITION = 88
"""The length of a time and an id in base64."""


class OpenConversation(Schema):
    listing_id = fields.UUID(required=True)
    client_user_id = fields.UUID(
        load_default=None,
        metadata={"description": "Required of `service` and `admin`; nobody else's but one's own"},
    )


class ConversationBody(Schema):
    """Fields of a conversation that may be changed; what is absent stays."""

    is_active = Boolean(metadata={"description": "false: closed"})
    assigned_user_id = fields.UUID(
        allow_none=True, metadata={"description": "One of the owner's side, or null"}
    )

    @validates_schema
    def check_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Nothing to change.")


class ParticipantBody(Schema):
    role = fields.Enum(
        MemberRole,
        by_value=True,
        required=True,
        validate=validate.OneOf(
            [MemberRole.CO_CLIENT, MemberRole.AGENT, MemberRole.OBSERVER],
            error="Must be one of: co_client, agent, observer.",
        ),
    )


class Archive(Schema):
    archived = Boolean(load_default=True)


class MessageBody(Schema):
    """The members of a message that its sender writes."""

    content = fields.String(load_default="", validate=validate.Length(max=MAX_RAW_CONTENT))
    message_type = fields.Enum(MessageType, by_value=True, load_default=MessageType.TEXT)
    attachment_id = fields.UUID(load_default=None, allow_none=True)
    media_url = fields.String(
        load_default=None, allow_none=True, validate=validate.Length(max=MAX_URL)
    )
    client_msg_id = fields.UUID(load_default=None, allow_none=True)
    reply_to_seq = Integer(
        load_default=None, allow_none=True, validate=validate.Range(min=1, max=2**53 - 1)
    )


def draft(values: dict[str, Any]) -> Draft:
    """Build the service's argument from what MessageBody loaded."""
    return Draft(**{name: values[name] for name in MessageBody.declared()})


class EditBody(Schema):
    content = fields.String(required=True, validate=validate.Length(max=MAX_RAW_CONTENT))


class PositionField(fields.Field[Position]):
    """The opaque cursor of a list: base64url of the last item's activity time and id."""

    default_error_messages = {"invalid": "Not a cursor of this list."}  # noqa: RUF012

    def _serialize(self, value: Position | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else encode_position(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Position:
        try:
            text = base64.urlsafe_b64decode(value.encode("ascii")).decode("ascii")
            active_at, last_id = text.split(" ")
            position = Position(datetime.fromisoformat(active_at), UUID(last_id))
            if position.active_at.tzinfo is None or encode_position(position) != value:
                raise self.make_error("invalid")
        except (AttributeError, ValueError, OverflowError, binascii.Error):
            raise self.make_error("invalid") from None
        return position


def encode_position(position: Position) -> str:
    text = f"{timestamp(position.active_at)} {position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


class QueryInteger(fields.Integer):
    """An integer in a query: digits alone, no blanks, underscores or other scripts."""

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> int:
        if not (isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit()):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *rest, **options)


class UtcTimestamp(Timestamp):
    """A time that has one in UTC: not the ends of the first and the last day that there can be."""

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> datetime:
        try:
            return super()._deserialize(value, *rest, **options).astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None


class AssignedField(fields.Field[UUID | str]):
    """`me`, `none` or the id of a user."""

    default_error_messages = {"invalid": "Must be me, none or an id."}  # noqa: RUF012

    def _serialize(self, value: UUID | str | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> UUID | str:
        if value in ("me", "none"):
            return str(value)
        try:
            return UUID(value)
        except (AttributeError, TypeError, ValueError):
            raise self.make_error("invalid") from None


class ListQuery(Schema):
    """Query parameters are text, so numbers and booleans are read from text here."""

    listing_id = fields.UUID(load_default=None)
    assigned = AssignedField(
        load_default=None,
        metadata={
            "type": "string",
            "maxLength": 36,
            "description": "`me`, `none` or the id of a user.",
        },
    )
    unread = fields.Boolean(
        load_default=None, metadata={"description": "With or without unread messages."}
    )
    is_active = fields.Boolean(
        load_default=None, metadata={"description": "Open ones, or closed ones."}
    )
    user_id = fields.UUID(
        load_default=None,
        metadata={"description": "Those of this user (`service` and `admin` alone)."},
    )

    skip = QueryInteger(load_default=0, validate=validate.Range(min=0, max=MAX_SKIP))
    limit = QueryInteger(load_default=20, validate=validate.Range(min=1, max=100))
    archived = fields.Boolean(load_default=False, metadata={"description": "Archived ones, too."})
    cursor = PositionField(
        load_default=None,
        metadata={
            "type": "string",
            "maxLength": MAX_POSITION,
            "description": "Comes from a Link; not to be made up.",
        },
    )


_ONE_BOUND = "At most one of before, before_seq and after_seq."


class HistoryQuery(Schema):
    limit = QueryInteger(load_default=50, validate=validate.Range(min=1, max=100))
    skip = QueryInteger(load_default=0, validate=validate.Range(min=0, max=MAX_SKIP))
    before = UtcTimestamp(load_default=None, metadata={"description": _ONE_BOUND})
    before_seq = QueryInteger(
        load_default=None,
        validate=validate.Range(min=0, max=MAX_SEQ),
        metadata={"description": _ONE_BOUND},
    )
    after_seq = QueryInteger(
        load_default=None,
        validate=validate.Range(min=0, max=MAX_SEQ),
        metadata={"description": f"Oldest first. {_ONE_BOUND}"},
    )

    @validates_schema
    def check_one_bound(self, data: dict[str, Any], **_: Any) -> None:
        given = [
            name for name in ("before", "before_seq", "after_seq") if data.get(name) is not None
        ]
        if len(given) > 1:
            raise ValidationError({name: ["Only one bound may be given."] for name in given[1:]})


class ConversationEvent(Schema):
    """`join` and `leave`"""

    conversation_id = fields.UUID(required=True)


class MessageEvent(MessageBody):
    conversation_id = fields.UUID(required=True)


class EditEvent(EditBody):
    message_id = fields.UUID(required=True)


class DeleteEvent(Schema):
    message_id = fields.UUID(required=True)


class TypingEvent(Schema):
    conversation_id = fields.UUID(required=True)
    is_typing = Boolean(required=True)


class DeliveredEvent(Schema):
    conversation_id = fields.UUID(required=True)
    seq = sequence_number(required=True)


class ReadEvent(Schema):
    """Either a message, or a conversation and a number in it."""

    message_id = fields.UUID(load_default=None)
    conversation_id = fields.UUID(load_default=None)
    seq = sequence_number(load_default=None)

    @validates_schema
    def check_one_form(self, data: dict[str, Any], **_: Any) -> None:
        has_message = data.get("message_id") is not None
        problem = "Not together with message_id." if has_message else "Required without message_id."
        bad = [
            name
            for name in ("conversation_id", "seq")
            if (data.get(name) is not None) is has_message
        ]
        if bad:
            raise ValidationError({name: [problem] for name in bad})


class AuthenticateEvent(Schema):
    token = fields.String(required=True, validate=validate.Length(min=1, max=MAX_TOKEN))
