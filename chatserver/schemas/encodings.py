"""Objects as JSON, once for all who get them."""

from typing import Final
from uuid import UUID

import orjson

from chatserver.models import Message
from chatserver.schemas.objects import dump_message

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
        encoded = orjson.Fragment(orjson.dumps(dump_message(message)))
        self._kept[message.id] = message, encoded
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return encoded
