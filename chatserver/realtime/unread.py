"""Keeps devices from believing an `unread` event that is older than what they know."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from chatserver.sio.client import Client

# Events overtake each other by milliseconds, and come late by seconds when Redis was
# away: only those who were told something lately need to be remembered, and of each
# the conversations that changed lately.
MAX_USERS: Final = 10_000
MAX_CONVERSATIONS: Final = 32

Request = Callable[[Iterable[tuple[UUID, UUID]]], None]


def _ignore(_: Iterable[tuple[UUID, UUID]]) -> None:
    """Nobody tells counters anew yet."""


@dataclass(slots=True)
class _Told:
    """Values last told to a user: the newest total, and each conversation's version.

    Some device may know everything up to the version `floor` from elsewhere.
    """

    version: int = -1
    total: int = 0
    floor: int = 0
    conversations: OrderedDict[str, int] = field(default_factory=OrderedDict)


class LatestUnread:
    """Looks at the `unread` events that are about to be delivered on this node.

    The events of several nodes overtake each other, and what a node kept for a Redis
    that was away comes seconds late. One that is older than an event before it is
    dropped. One that is only older than what some device was answered by `sync` is
    dropped too, but other devices may need it: it is stale, and the function of
    `on_stale` tells the counter as it is by now.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[UUID, _Told] = OrderedDict()
        self._request: Request = _ignore

    def on_stale(self, request: Request) -> None:
        """Have `request` called with the users and conversations whose counters are to be
        read from the database and told to the user's devices on this node."""
        self._request = request

    def admit(self, clients: Collection[Client], payload: dict[str, Any]) -> dict[str, Any] | None:
        """The payload with the newest total known, or None if its conversation's is out of date.

        A `sio.adapter.Filter`; `clients` are the user's.
        """
        user_id = next(iter(clients)).session["user_id"]
        conversation, version = payload["conversation_id"], payload["version"]
        told = self._told_to(user_id)
        if version < told.conversations.get(conversation, -1):
            return None
        if version < told.floor:
            self._tell_anew(user_id, told, [conversation])
            return None
        _set_version(told, conversation, version)
        if version >= told.version:
            told.version, told.total = version, payload["total_unread_count"]
        return {**payload, "total_unread_count": told.total}

    def versions(self, user_id: UUID) -> Mapping[str, int]:
        """The version of each conversation that the user was told of lately."""
        told = self._told.get(user_id)
        return {} if told is None else dict(told.conversations)

    def synced(self, user_id: UUID, version: int, before: Mapping[str, int]) -> None:
        """A device of the user is about to be answered everything up to `version`.

        `before` are the `versions` when it asked: a client takes what it was told since
        for newer than the answer, so what was older is told anew.
        """
        told = self._told_to(user_id)
        told.floor = max(told.floor, version)
        since = [
            conversation
            for conversation, at in told.conversations.items()
            if at < version and at != before.get(conversation)
        ]
        self._tell_anew(user_id, told, since)

    def _told_to(self, user_id: UUID) -> _Told:
        told = self._told.get(user_id)
        if told is not None:
            self._told.move_to_end(user_id)
            return told
        if len(self._told) >= MAX_USERS:
            self._told.popitem(last=False)
        told = self._told[user_id] = _Told()
        return told

    def _tell_anew(self, user_id: UUID, told: _Told, conversations: Sequence[str]) -> None:
        """Once for each, however many old events follow: what is told will be newer."""
        self._request([(user_id, UUID(conversation)) for conversation in conversations])
        for conversation in conversations:
            _set_version(told, conversation, told.floor)


def _set_version(told: _Told, conversation: str, version: int) -> None:
    """Note a version. Events for a conversation dropped from the cache may come late."""
    told.conversations[conversation] = version
    told.conversations.move_to_end(conversation)
    if len(told.conversations) > MAX_CONVERSATIONS:
        _, forgotten = told.conversations.popitem(last=False)
        told.floor = max(told.floor, forgotten)
