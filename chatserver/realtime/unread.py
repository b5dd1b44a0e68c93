"""Puts the `unread` events of a user into the order in which their counters changed."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from chatserver.events import UnreadChanged

# Events overtake each other by milliseconds: only those who were told something
# lately need to be remembered, and of each the conversations that changed lately.
MAX_USERS: Final = 10_000
MAX_CONVERSATIONS: Final = 32


@dataclass(slots=True)
class _Told:
    """What a user was told last: the newest total, and each conversation's version."""

    version: int = -1
    total: int = 0
    conversations: OrderedDict[UUID, int] = field(default_factory=OrderedDict)


class LatestUnread:
    """Keeps an event that comes late from replacing a newer one."""

    def __init__(self) -> None:
        self._told: OrderedDict[UUID, _Told] = OrderedDict()

    def admit(self, event: UnreadChanged) -> UnreadChanged | None:
        """The event with the newest total known, or None if its conversation's is out of date."""
        told = self._told.setdefault(event.user_id, _Told())
        _keep_newest(self._told, event.user_id, MAX_USERS)
        if event.version < told.conversations.get(event.conversation_id, -1):
            return None
        told.conversations[event.conversation_id] = event.version
        _keep_newest(told.conversations, event.conversation_id, MAX_CONVERSATIONS)
        if event.version >= told.version:
            told.version, told.total = event.version, event.total_unread_count
        return replace(event, total_unread_count=told.total)


def _keep_newest(entries: OrderedDict[UUID, Any], key: UUID, limit: int) -> None:
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
