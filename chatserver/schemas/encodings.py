"""Objects as JSON, once for all who get them."""

from datetime import UTC
from typing import Final
from uuid import UUID

import orjson

from chatserver.models import Message
from chatserver.schemas.objects import dump_message, dump_user

MAX_KEPT: Final = 1000


class MessageEncoder:
    """Encodes a message once for its acknowledgement and for the event that follows."""

    def __init__(self) -> None:
        self._kept: dict[UUID, tuple[Message, orjson.Fragment]] = {}

    def encode(self, message: Message) -> orjson.Fragment:
        """The message's JSON, for use inside what orjson encodes."""
        kept = self._kept.pop(message.id, None)
        if kept is not None and kept[0] is message:
            return kept[1]
        encoded = orjson.Fragment(_encode(message))
        self._kept[message.id] = message, encoded
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return encoded


def _encode(message: Message) -> bytes:
    """As `dump_message` has it; orjson itself writes the ids and times of a new message."""
    if not _is_new(message):
        return orjson.dumps(dump_message(message))
    return orjson.dumps(
        {
            "id": message.id,
            "conversation_id": message.conversation_id,
            "seq": message.seq,
            "rev": message.rev,
            "sender_id": message.sender_id,
            "sender_role": message.sender_role.value,
            "sender": None if message.sender is None else dump_user(message.sender),
            "message_type": message.message_type.value,
            "content": message.content,
            "media_url": message.media_url,
            "attachment": None,
            "status": message.status.value,
            "created_at": message.created_at,
            "updated_at": message.created_at,
            "delivered_at": None,
            "read_at": None,
            "edited_at": None,
            "is_deleted": False,
            "client_msg_id": message.client_msg_id,
            "reply_to_seq": message.reply_to_seq,
        },
        option=orjson.OPT_UTC_Z,
    )


def _is_new(message: Message) -> bool:
    """Whether nothing has happened to it yet. orjson leaves out microseconds that are 0."""
    at = message.created_at
    is_changed = message.updated_at is not at or message.is_deleted
    has_receipt = message.delivered_at or message.read_at or message.edited_at
    return not (is_changed or has_receipt) and at.microsecond != 0 and at.tzinfo is UTC
