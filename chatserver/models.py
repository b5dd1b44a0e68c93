"""The domain's objects, as services return them and both edges dump them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID


class Role(StrEnum):
    """Role of a caller in the host application (the token's `role` claim)."""

    CLIENT = "client"
    OWNER = "owner"
    AGENT = "agent"
    ADMIN = "admin"
    SERVICE = "service"


MAX_MEMBERS: Final = 20
"""Of a conversation, the client and the owner included."""


class Side(StrEnum):
    """The two that a conversation is between."""

    CLIENT = "client"
    OWNER = "owner"


class MemberRole(StrEnum):
    """Role of a member in a conversation. There is one client and one owner."""

    CLIENT = "client"
    CO_CLIENT = "co_client"
    OWNER = "owner"
    AGENT = "agent"
    OBSERVER = "observer"

    @property
    def side(self) -> Side | None:
        """The side that they are on; None for an observer."""
        return _SIDES.get(self)

    @property
    def is_counted(self) -> bool:
        """True for all but an observer, who has no cursors and no unread messages."""
        return self is not MemberRole.OBSERVER


_SIDES = {
    MemberRole.CLIENT: Side.CLIENT,
    MemberRole.CO_CLIENT: Side.CLIENT,
    MemberRole.OWNER: Side.OWNER,
    MemberRole.AGENT: Side.OWNER,
}


class SenderRole(StrEnum):
    """Role of a message's sender in its conversation; the last two take no part."""

    CLIENT = "client"
    CO_CLIENT = "co_client"
    OWNER = "owner"
    AGENT = "agent"
    SERVICE = "service"
    ADMIN = "admin"

    @property
    def is_outside(self) -> bool:
        """True if the sender takes no part in the conversation."""
        return self in (SenderRole.SERVICE, SenderRole.ADMIN)

    @property
    def is_named(self) -> bool:
        """True if the message names its sender: the names of the two the conversation has."""
        return self not in (SenderRole.CLIENT, SenderRole.OWNER)


class MessageType(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    DOCUMENT = "document"
    SYSTEM = "system"


class MessageStatus(StrEnum):
    """Progress of a message with its recipient."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Principal:
    """Authenticated caller, as a verified token says. Its times are aware, in UTC.

    `token_id` is the token's `jti` and `issued_at` its `iat`, where it has them.
    """

    user_id: UUID
    role: Role
    expires_at: datetime
    token_id: str | None = None
    issued_at: datetime | None = None

    @property
    def is_privileged(self) -> bool:
        """True if the caller may read and write any conversation."""
        return self.role in (Role.ADMIN, Role.SERVICE)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A token (`jti`), or all of a user's that were issued before `revoked_at`: refused.

    No token that it speaks of lives beyond `expires_at`; None: that is not known.
    """

    id: UUID
    jti: str | None
    user_id: UUID | None
    revoked_at: datetime
    expires_at: datetime | None
    is_lifted: bool


@dataclass(frozen=True, slots=True)
class User:
    """A user, as far as the host's `core.users` tells."""

    id: UUID
    first_name: str | None
    last_name: str | None
    profile_picture_url: str | None


@dataclass(frozen=True, slots=True)
class Voice:
    """Sender who writes into conversations without taking part in them, and its role there."""

    role: SenderRole
    user: User


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `content` is empty once it is deleted.

    `sender` is there for all but the client and the owner (`sender_role`), whose names are
    the conversation's.
    """

    id: UUID
    conversation_id: UUID
    seq: int
    rev: int
    sender_id: UUID
    sender_role: SenderRole
    message_type: MessageType
    content: str
    media_url: str | None
    status: MessageStatus
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None
    read_at: datetime | None
    edited_at: datetime | None
    is_deleted: bool
    client_msg_id: UUID | None
    reply_to_seq: int | None
    sender: User | None = None
    attachment: ClassVar[None] = None  # The wire has it, and no message does so far.


@dataclass(frozen=True, slots=True)
class Listing:
    """Subject of a conversation: the host's row, or the snapshot once that is gone."""

    id: UUID | None
    title: str | None
    price: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Presence:
    """Presence of a user: a live socket or none; `last_seen_at` is None for one never seen."""

    user_id: UUID
    is_online: bool
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Position:
    """End of a page of conversations: the activity time and id of its last one."""

    active_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class PeerPresence:
    """Presence of `user_ids`, the other side: anyone with a live socket, and who had one last."""

    user_ids: tuple[UUID, ...]
    is_online: bool
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Participant:
    """A member of a conversation, who holds it up to `delivered_seq`.

    What was sent up to `joined_seq`, when they were added, is not unread to them.
    """

    user_id: UUID
    role: MemberRole
    first_name: str | None
    last_name: str | None
    profile_picture_url: str | None
    delivered_seq: int
    read_seq: int
    joined_seq: int
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as one viewer sees it.

    `unread_count` and `read_seq` are the viewer's own, `peer_*` the furthest of the other
    side's; for an observer, and a privileged viewer who takes no part, they are 0 and
    `peer_presence` is None. `participants` are its members, client and owner first.
    """

    id: UUID
    listing_id: UUID | None
    client_user_id: UUID
    owner_user_id: UUID
    created_at: datetime
    updated_at: datetime
    last_message_at: datetime | None
    is_active: bool
    archived_by_client: bool
    archived_by_owner: bool
    last_seq: int
    rev: int
    unread_count: int
    read_seq: int
    peer_read_seq: int
    peer_delivered_seq: int
    listing: Listing
    client: User
    owner: User
    participants: Sequence[Participant]
    assigned_user_id: UUID | None
    last_message: Message | None
    peer_presence: PeerPresence | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Filter of a list of conversations: all that a viewer is in and has not archived.

    `archived`: these, too. `assigned_to` is a user's id, `is_unassigned` nobody's.
    """

    archived: bool = False
    listing_id: UUID | None = None
    assigned_to: UUID | None = None
    is_unassigned: bool = False
    is_unread: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A participant's counters, as of one moment."""

    conversation_id: UUID
    user_id: UUID
    unread_count: int
    total_unread_count: int
    version: int
