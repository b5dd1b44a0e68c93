"""Sync: what is asked, by an event or by a query, and how the answer is dumped."""

from typing import Any
from uuid import UUID

from marshmallow import fields, validate

from chatserver.schemas.base import Boolean, Dict, Integer, Schema, sequence_number
from chatserver.schemas.objects import (
    ConversationSchema,
    MessageSchema,
    dump_conversation,
    dump_message,
)
from chatserver.services.sync import OpenState, SyncedConversation, SyncResult

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
MAX_OPEN = 100
# Far above the longest cursor, far below what a line of HTTP may hold.
MAX_CURSOR = 4096

_CURSOR: dict[str, Any] = {
    "load_default": None,
    "validate": validate.Length(min=1, max=MAX_CURSOR),
    "metadata": {"description": "Of an earlier answer; without it, everything is answered"},
}


class OpenStateSchema(Schema):
    """Position of a device in a conversation."""

    seq = sequence_number(required=True)
    rev = sequence_number(required=True)


class SyncRequest(Schema):
    """The payload of the `sync` event."""

    cursor = fields.String(allow_none=True, **_CURSOR)
    limit = Integer(load_default=DEFAULT_LIMIT, validate=validate.Range(min=1, max=MAX_LIMIT))
    open = Dict(
        max_length=MAX_OPEN,
        keys=fields.UUID(),
        values=fields.Nested(OpenStateSchema),
        load_default=dict,
    )


class SyncQuery(Schema):
    """The query of `GET /sync`: text, as all queries are."""

    cursor = fields.String(**_CURSOR)
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT, validate=validate.Range(min=1, max=MAX_LIMIT)
    )


class SyncedConversationSchema(ConversationSchema):
    changes = fields.List(
        fields.Nested(MessageSchema),
        metadata={"description": "Only of a conversation under `open`: new and changed, by `seq`"},
    )
    limited = Boolean(metadata={"description": "There are more changes: page the history"})


class SyncSchema(Schema):
    cursor = fields.String(required=True)
    reset = Boolean(
        required=True, metadata={"description": "Drop everything: this is the first page of all"}
    )
    has_more = Boolean(required=True, metadata={"description": "Ask again with the new cursor"})
    conversations = fields.List(fields.Nested(SyncedConversationSchema), required=True)
    removed = fields.List(
        fields.UUID(),
        required=True,
        metadata={"description": "Conversations that the caller is no longer in: drop them"},
    )


def open_states(values: dict[UUID, dict[str, int]]) -> dict[UUID, OpenState]:
    """Build the service's argument from what SyncRequest loaded under `open`."""
    return {conversation_id: OpenState(**state) for conversation_id, state in values.items()}


def dump_sync(result: SyncResult) -> dict[str, Any]:
    return {
        "cursor": result.cursor,
        "reset": result.reset,
        "has_more": result.has_more,
        "conversations": [_dump_synced(one) for one in result.conversations],
        "removed": [str(conversation_id) for conversation_id in result.removed],
    }


def _dump_synced(synced: SyncedConversation) -> dict[str, Any]:
    body = dump_conversation(synced.conversation)
    if synced.changes is not None:
        body["changes"] = [dump_message(message) for message in synced.changes]
        body["limited"] = synced.limited
    return body
