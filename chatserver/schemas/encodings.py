"""Objects as JSON, once for all who get them."""

from datetime import UTC
from typing import Final
from uuid import UUID

import orjson

from chatserver.models import Message
from chatserver.schemas.dumps import dump_function
from chatserver.schemas.objects import MessageSchema, dump_message

MAX_KEPT: Final = 1000

_dump_new = dump_function(MessageSchema, for_orjson=True)


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
    """Encode like `dump_message`; orjson itself writes the ids and times of a new message."""
    if not _is_new(message):
        return orjson.dumps(dump_message(message))
    return orjson.dumps(_dump_new(message), option=orjson.OPT_UTC_Z)


def _is_new(message: Message) -> bool:
    """Return whether nothing has happened to it yet. orjson leaves out microseconds that are 0."""
    at = message.created_at
    has_other_times = message.delivered_at or message.read_at or message.edited_at
    is_new = message.updated_at is at and not has_other_times
    return is_new and at.microsecond != 0 and at.tzinfo is UTC
