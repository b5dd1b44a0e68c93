"""Frames of the raw websocket that clients may send, each with the members that it may have."""

from collections.abc import Mapping
from typing import Any, Final

from marshmallow import fields, validate

from chatserver.schemas.base import Schema
from chatserver.schemas.requests import MessageBody, TypingEvent


class MessageFrame(Schema):
    type = fields.String(required=True, validate=validate.Equal("message"))
    content = MessageBody.declared()["content"]
    message_type = MessageBody.declared()["message_type"]
    client_msg_id = MessageBody.declared()["client_msg_id"]


class TypingFrame(Schema):
    type = fields.String(required=True, validate=validate.Equal("typing"))
    is_typing = TypingEvent.declared()["is_typing"]


class ReadFrame(Schema):
    type = fields.String(required=True, validate=validate.Equal("read"))
    message_id = fields.UUID(required=True)


FRAMES: Final[Mapping[str, type[Schema]]] = {
    "message": MessageFrame,
    "typing": TypingFrame,
    "read": ReadFrame,
}
"""By their `type`."""


def with_conversation(frame: Mapping[str, Any], conversation_id: str) -> dict[str, Any]:
    """The payload of the event that a frame stands for."""
    payload = {name: value for name, value in frame.items() if name != "type"}
    if frame["type"] != "read":
        payload["conversation_id"] = conversation_id
    return payload
