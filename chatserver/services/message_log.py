"""The message log: a record for each message that was stored, and for each refused event.

Records hold ids, a type and a length, never a content. What is refused over REST is in
the record `request`.
"""

from collections.abc import Sequence

import structlog

from chatserver.errors import ChatError
from chatserver.models import Message
from chatserver.telemetry.logs import ManyRecords


class MessageLog:
    """Writes a fraction of the records, evenly: of 1,000 messages and 0.1 each tenth."""

    def __init__(self, fraction: float) -> None:
        """`fraction` is from 0, nothing, to 1, everything."""
        self._fraction = fraction
        self._owed_sent = self._owed_refused = 0.0
        self._log = structlog.get_logger(__name__)
        self._sent_log = ManyRecords(__name__)

    @property
    def is_on(self) -> bool:
        return self._fraction > 0

    def sent(self, messages: Sequence[Message]) -> None:
        """Record those of one commit."""
        if self._fraction < 1:
            messages = [message for message in messages if self._is_due()]
        if messages:
            self._sent_log.info("message_sent", [_describe(message) for message in messages])

    def refused(self, error: ChatError) -> None:
        """Record the refusal of an event, in the context of its socket."""
        self._owed_refused += self._fraction
        if self._owed_refused >= 1:
            self._owed_refused -= 1
            self._log.info("event_refused", code=error.code, **error.about)

    def _is_due(self) -> bool:
        self._owed_sent += self._fraction
        if self._owed_sent < 1:
            return False
        self._owed_sent -= 1
        return True


def _describe(message: Message) -> dict[str, object]:
    return {
        "conversation_id": message.conversation_id,
        "sender_id": message.sender_id,
        "message_type": message.message_type,
        "message_length": len(message.content),
    }
