"""Mistakes in who may see what; and a log that tells too much."""

import sys
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from chatserver.events import Event, TypingChanged
from chatserver.models import Principal
from chatserver.realtime.namespace import ChatNamespace
from chatserver.realtime.publisher import SocketPublisher
from chatserver.realtime.room_names import conversation_room
from chatserver.repositories import conversations
from chatserver.repositories.conversations import Membership
from chatserver.services import messages as message_service
from chatserver.services.messages import Draft, MessageService, Sent
from chatserver.services.sessions import SessionService
from tests.chaos.checker.faults.planting import before_sending, fault, patch


async def _any_conversation(connection: Any, _: Principal, conversation_id: UUID) -> Membership:
    membership = await conversations.get_membership(connection, conversation_id)
    assert membership is not None
    return membership


@fault(5, sign="an outsider's history was accepted")
def history_of_anybody() -> None:
    """History asks for no access."""
    patch(message_service, "access_conversation", _any_conversation)


@fault(5, sign="the event typing of another's")
def join_anything() -> None:
    """Whoever asks to join is in the room before it is refused, and typing is told to all there."""
    join = ChatNamespace.on_join

    async def enter_and_join(self: ChatNamespace, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await self.enter_room(sid, conversation_room(data["conversation_id"]))
        return await join(self, sid, data)

    def tell_all(_: SocketPublisher, event: Event) -> list[Event]:
        return [replace(event, member_ids=None) if isinstance(event, TypingChanged) else event]

    patch(ChatNamespace, "on_join", enter_and_join)
    before_sending(tell_all)


@fault(5, sign="the log has a text")
def text_in_log() -> None:
    """Somebody was looking for a mistake and forgot a line."""
    send = MessageService.send

    async def send_and_log(
        self: MessageService, principal: Principal, conversation_id: UUID, draft: Draft
    ) -> Sent:
        structlog.get_logger(__name__).info("sending", body=draft.content)
        return await send(self, principal, conversation_id, draft)

    patch(MessageService, "send", send_and_log)


@fault(5, sign="the log has a token")
def token_in_log() -> None:
    """The same with a token, past the logger that would take it out."""
    authenticate = SessionService.authenticate

    async def authenticate_and_log(self: SessionService, token: str | None) -> Principal:
        sys.stderr.write(f"token {token}\n")
        return await authenticate(self, token)

    patch(SessionService, "authenticate", authenticate_and_log)
