"""The names of the rooms of the chat."""

from uuid import UUID


def user_room(user_id: UUID | str) -> str:
    """The room of all devices of a user."""
    return f"user:{user_id}"


def conversation_room(conversation_id: UUID | str) -> str:
    """The room of the sockets that joined a conversation."""
    return f"conversation:{conversation_id}"


def privileged_room(conversation_id: UUID | str) -> str:
    """The room of the sockets of admins and services that joined a conversation."""
    return f"conversation:{conversation_id}:privileged"


def presence_room(user_id: UUID | str) -> str:
    """The room of the sockets that joined a conversation with a user; never the user's own."""
    return f"presence:{user_id}"
