"""Every event that the server sends to clients, and the protocol that carries them.

Services publish an event after the commit that it tells of; `chatserver.realtime`
turns it into rooms and payloads. Publishing is a hint: PostgreSQL is the truth,
and a client that misses an event finds out by `rev` and asks `sync`.

`member_ids` are those who were in the conversation when the change was committed: of
people nobody else may be told of it, whatever rooms their sockets are in by then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self
from uuid import UUID

from chatserver.models import Conversation, Message, Presence, Unread


@dataclass(frozen=True, slots=True)
class MessageSent:
    """To every device of every member, once each, the sender's included."""

    message: Message
    member_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class MessageUpdated:
    message: Message
    member_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    message: Message
    member_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class ConversationChanged:
    """It was created, archived or closed; each of these users gets their own view.

    `visitors_view` is for admins and services who joined the conversation, if any.
    """

    views: Mapping[UUID, Conversation]
    visitors_view: Conversation | None = None


@dataclass(frozen=True, slots=True)
class TypingChanged:
    """To the conversation's room, but not to the sockets of the one who is typing.

    `member_ids` as of some seconds ago; None: not known, the database is away.
    """

    conversation_id: UUID
    user_id: UUID
    is_typing: bool
    timestamp: datetime
    member_ids: tuple[UUID, ...] | None = None


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """To the sockets in a room of a conversation with that user, but not the user's own."""

    presence: Presence
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """`delivered_to` holds everything up to `seq`; `message_id` is the message `seq`."""

    conversation_id: UUID
    message_id: UUID
    seq: int
    delivered_to: UUID
    delivered_at: datetime
    rev: int
    member_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class ReadReceipt:
    """`read_by` has read everything up to `seq`, which says that it was delivered too."""

    conversation_id: UUID
    message_id: UUID
    seq: int
    read_by: UUID
    read_at: datetime
    rev: int
    member_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class UnreadChanged:
    """To the user's own devices.

    `version` counts the changes of all the user's counters in their order. Events of
    different transactions may be published in another order, and an `unread` replaces
    what was told before: so whoever delivers it looks at it. With `is_local` it is for
    the devices on this node alone.
    """

    user_id: UUID
    conversation_id: UUID
    unread_count: int
    total_unread_count: int
    version: int
    is_local: bool = False

    @classmethod
    def of(cls, unread: Unread, *, is_local: bool = False) -> Self:
        """That the counters are these now."""
        return cls(
            user_id=unread.user_id,
            conversation_id=unread.conversation_id,
            unread_count=unread.unread_count,
            total_unread_count=unread.total_unread_count,
            version=unread.version,
            is_local=is_local,
        )


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """A hint that something may have been missed; with `is_local` on this node alone.

    `member_ids` are those of the members who are to be told.
    """

    conversation_id: UUID
    last_seq: int
    rev: int
    member_ids: tuple[UUID, ...]
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class NoticeSent:
    """Notice of the host or an operator; to everybody where `user_ids` is None."""

    content: str
    data: Mapping[str, Any] | None
    timestamp: datetime
    user_ids: tuple[UUID, ...] | None


Event = (
    MessageSent
    | MessageUpdated
    | MessageDeleted
    | ConversationChanged
    | TypingChanged
    | PresenceChanged
    | DeliveryReceipt
    | ReadReceipt
    | UnreadChanged
    | HeadMoved
    | NoticeSent
)


class Publisher(Protocol):
    """Carries events to clients: at most once, in the order of the calls on this node."""

    def publish(self, event: Event) -> None:
        """Hand `event` over and return at once: never blocks, never raises."""
