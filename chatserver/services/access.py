"""Access to conversations: whoever may not see one is told that it is not there."""

from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.errors import Forbidden, NotFound
from chatserver.models import MemberRole, Message, Principal
from chatserver.repositories import conversations, messages
from chatserver.repositories.conversations import Membership


def may_access(principal: Principal, membership: Membership) -> bool:
    return principal.is_privileged or principal.user_id in membership.member_ids


def note_access(principal: Principal, membership: Membership, action: str) -> None:
    """Log that a privileged caller did `action` in a conversation of others; never what."""
    if principal.is_privileged and principal.user_id not in membership.member_ids:
        note_visit(principal, membership.id, action)


def note_visit(principal: Principal, conversation_id: UUID, action: str) -> None:
    """Like `note_access`, where it is known that the caller takes no part."""
    structlog.get_logger(__name__).info(
        "privileged_access",
        action=action,
        conversation_id=str(conversation_id),
        user_id=str(principal.user_id),
        role=principal.role,
    )


async def access_conversation(
    connection: AsyncConnection, principal: Principal, conversation_id: UUID
) -> Membership:
    """The conversation, if the caller takes part in it or is privileged; else NotFound."""
    membership = await conversations.get_membership(connection, conversation_id)
    if membership is None or not may_access(principal, membership):
        raise NotFound
    return membership


async def lock_conversation(
    connection: AsyncConnection, principal: Principal, conversation_id: UUID
) -> Membership:
    """Like `access_conversation`, with the conversation's numbers locked until the commit."""
    membership = await conversations.lock(connection, conversation_id)
    if membership is None or not may_access(principal, membership):
        raise NotFound
    return membership


def check_may_write(principal: Principal, membership: Membership) -> None:
    """Forbidden for an observer, and in a closed conversation for anybody."""
    role = membership.role_of(principal.user_id)
    if role is MemberRole.OBSERVER and not principal.is_privileged:
        raise observer()
    if not membership.is_active:
        raise closed()


def observer() -> Forbidden:
    """Return the error for an observer who would write."""
    return Forbidden("An observer does not write.")


def closed() -> Forbidden:
    """Return the error for a caller who would write into a closed conversation."""
    return Forbidden("The conversation is closed.")


async def access_message(
    connection: AsyncConnection, principal: Principal, message_id: UUID
) -> Message:
    """The message, if the caller may see its conversation; else NotFound."""
    message = await messages.get_message(connection, message_id)
    # Also without a message: the time that it takes does not tell whether there is one.
    where = message_id if message is None else message.conversation_id
    await access_conversation(connection, principal, where)
    if message is None:
        raise NotFound
    return message
