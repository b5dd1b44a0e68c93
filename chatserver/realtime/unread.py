"""Puts the `unread` events of a user into the order in which their counters changed."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# Events overtake each other by milliseconds: only those who were told something
# lately need to be remembered, and of each the conversations that changed lately.
MAX_USERS: Final = 10_000
MAX_CONVERSATIONS: Final = 32


@dataclass(slots=True)
class _Told:
    """What a user was told last: the newest total, and each conversation's version."""

    version: int = -1
    total: int = 0
    conversations: OrderedDict[str, int] = field(default_factory=OrderedDict)


class LatestUnread:
    """Keeps an event that comes late from replacing a newer one, on the node that delivers
    it: the events of several nodes overtake each other."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def admit(self, rooms: Sequence[str], payload: dict[str, Any]) -> dict[str, Any] | None:
        """The payload with the newest total known, or None if its conversation's is out of date.

        A `realtime.rooms.Filter`; `rooms` is the user's one.
        """
        (user,) = rooms
        conversation, version = payload["conversation_id"], payload["version"]
        told = self._told.setdefault(user, _Told())
        _keep_newest(self._told, user, MAX_USERS)
        if version < told.conversations.get(conversation, -1):
            return None
        told.conversations[conversation] = version
        _keep_newest(told.conversations, conversation, MAX_CONVERSATIONS)
        if version >= told.version:
            told.version, told.total = version, payload["total_unread_count"]
        return {**payload, "total_unread_count": told.total}


def _keep_newest(entries: OrderedDict[str, Any], key: str, limit: int) -> None:
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
