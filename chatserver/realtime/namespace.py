"""The chat over Socket.IO: each client event is parsed, given to one service, dumped."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import marshmallow as ma
import structlog

from chatserver.aio.deadlines import Deadlines
from chatserver.eio.handshakes import Environ
from chatserver.errors import (
    ChatError,
    Forbidden,
    InternalError,
    InvalidPayload,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnknownEvent,
)
from chatserver.http.strangers import COUNTED_ADDRESS
from chatserver.models import Principal
from chatserver.realtime.joined import JoinedRooms
from chatserver.realtime.python_socketio import AsyncNamespace, ConnectionRefusedError
from chatserver.realtime.room_names import user_room
from chatserver.realtime.sessions import Sessions, handshake_token
from chatserver.realtime.unread import LatestUnread
from chatserver.schemas import requests
from chatserver.schemas.base import timestamp
from chatserver.schemas.encodings import MessageEncoder
from chatserver.schemas.loaders import Loader
from chatserver.schemas.objects import dump_conversation
from chatserver.schemas.sync import SyncRequest, dump_sync, open_states
from chatserver.services.budgets import Budgets
from chatserver.services.conversations import ConversationService
from chatserver.services.message_log import MessageLog
from chatserver.services.messages import MessageService
from chatserver.services.presence import PresenceService
from chatserver.services.receipts import ReceiptService
from chatserver.services.revocations import RevocationService
from chatserver.services.sessions import SessionService
from chatserver.services.sync import SyncService
from chatserver.services.typing import TypingService
from chatserver.settings import Settings
from chatserver.sio.adapter import Adapter
from chatserver.sio.packets import EventRefused
from chatserver.telemetry import logs
from chatserver.telemetry.metrics import Metrics

RETRY_AFTER: Final = 1.0

TAKING_TURNS: Final = frozenset({"join", "leave", "edit", "delete", "sync", "authenticate"})
"""Each of these takes a connection to PostgreSQL of its own; sends and receipts share one."""

Handler = Callable[[str, Any], Awaitable[dict[str, Any]]]
"""Takes a socket's id and the payload; returns what the acknowledgement adds."""


class ChatAnswers:
    """Error objects told to clients (`sio.server.Answers`), by the contract."""

    @staticmethod
    def ack(error: BaseException) -> dict[str, Any]:
        return {"ok": False, "error": _error_of(error).to_dict()}

    @staticmethod
    def refusal(error: BaseException) -> dict[str, Any]:
        known = _error_of(error)
        return {"message": known.detail, "data": known.to_dict()}

    @staticmethod
    def unasked(values: Sequence[Any]) -> tuple[str, Any] | None:
        """Of a failure a client hears in any case."""
        match values:
            case [{"ok": False, "error": error}]:
                return "error", error
        return None


def _error_of(error: BaseException) -> ChatError:
    """Only a ChatError tells what went wrong."""
    match error:
        case ChatError():
            return error
        case EventRefused(kind="payload_too_large"):
            return PayloadTooLarge()
        case EventRefused():
            return InvalidPayload(str(error))
        case asyncio.CancelledError():
            return Unavailable()
    return InternalError()


@dataclass(frozen=True, slots=True)
class SocketServices:
    """The services that the events need."""

    sessions: SessionService
    revocations: RevocationService
    conversations: ConversationService
    messages: MessageService
    receipts: ReceiptService
    presence: PresenceService
    sync: SyncService
    typing: TypingService
    log: MessageLog


class ChatNamespace(AsyncNamespace):
    """The namespace "/": a method for each event, and one that dispatches them all.

    The `on_` methods of client events take the loaded payload, raise a ChatError, and
    return what the acknowledgement adds to `{"ok": true}`.
    """

    def __init__(
        self,
        adapter: Adapter,
        sessions: Sessions,
        services: SocketServices,
        settings: Settings,
        metrics: Metrics,
        encoder: MessageEncoder,
        unread: LatestUnread,
        budgets: Budgets,
    ) -> None:
        super().__init__("/")
        self._budgets = budgets
        self._encoder = encoder
        self._unread = unread
        self._services = services
        self._takes_query_token = settings.auth.query_token
        self._metrics = metrics
        self._log = structlog.get_logger(__name__)
        self._sessions = sessions
        self._joined = JoinedRooms(adapter, services.conversations, services.typing)
        self._deadlines = Deadlines[dict[str, Any]](settings.realtime.handler_timeout)
        refuses = services.revocations.refuses
        services.revocations.on_change(partial(sessions.end_where, refuses))
        handlers: Mapping[str, tuple[ma.Schema, Handler]] = {
            "join": (requests.ConversationEvent(), self.on_join),
            "leave": (requests.ConversationEvent(), self.on_leave),
            "message": (requests.MessageEvent(), self.on_message),
            "edit": (requests.EditEvent(), self.on_edit),
            "delete": (requests.DeleteEvent(), self.on_delete),
            "typing": (requests.TypingEvent(), self.on_typing),
            "delivered": (requests.DeliveredEvent(), self.on_delivered),
            "read": (requests.ReadEvent(), self.on_read),
            "sync": (SyncRequest(), self.on_sync),
            "authenticate": (requests.AuthenticateEvent(), self.on_authenticate),
        }
        self._handlers = {
            event: (Loader(schema), handler, budgets.costs.of_event(event))
            for event, (schema, handler) in handlers.items()
        }

    @property
    def schemas(self) -> Mapping[str, ma.Schema]:
        """Each event that clients may send, and what loads its payload."""
        return {event: loader.schema for event, (loader, _, _) in self._handlers.items()}

    def members_changed(self, payload: Mapping[str, Any]) -> None:
        """See `JoinedRooms`; for each `conversation` event that is delivered here."""
        self._joined.members_changed(payload)

    # Dispatch

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """python-socketio's place for a dispatch of one's own.

        A client's event runs nothing but its handler, and is answered in any case:
        `{"ok": True, …}` or `{"ok": False, "error": {…}}`.
        """
        if event == "connect":
            return await self._connect(*args)
        if event == "disconnect":
            return await self.on_disconnect(*args)
        sid = args[0]
        logs.in_socket(sid, event)
        try:
            answer = await self._handle(sid, event, args[1:])
            result = "ok"
        except ChatError as error:
            answer, result = ChatAnswers.ack(error), error.code
            if not isinstance(error, RateLimited) or error.told_for is None:
                self._services.log.refused(error)
            elif self._sessions.turn_away(sid, error):  # `Budgets` logs the others, by the user
                self._metrics.budget_closed()
                self._log.info("socket_over_budget")
        except Exception as error:
            self._log.exception("event_failed")
            answer, result = ChatAnswers.ack(error), InternalError.code
        self._metrics.event_handled(event if event in self._handlers else "unknown", result)
        return answer

    async def _connect(self, *args: Any) -> None:
        try:
            await self.on_connect(*args)
        except ChatError as error:
            raise ConnectionRefusedError(error.detail, error.to_dict()) from None

    async def _handle(self, sid: str, event: str, args: Sequence[Any]) -> dict[str, Any]:
        principal = self._sessions[sid].principal
        if event not in self._handlers:
            self._budgets.spend(principal, self._budgets.costs.event)
            raise UnknownEvent
        loader, handler, cost = self._handlers[event]
        self._budgets.spend(principal, cost)
        if len(args) != 1:
            raise InvalidPayload("An event has exactly one payload.", fields={})
        payload = loader.load(args[0])
        in_turn = event in TAKING_TURNS
        call = self._in_turn(handler, principal, sid, payload) if in_turn else handler(sid, payload)
        try:
            answer = await self._deadlines.run(call)
        except TimeoutError:
            raise Unavailable("The event took too long.", retry_after=RETRY_AFTER) from None
        return {"ok": True, **answer}

    async def _in_turn(
        self, handler: Handler, principal: Principal, sid: str, payload: Any
    ) -> dict[str, Any]:
        async with self._budgets.turns.take(principal):
            return await handler(sid, payload)

    # The life of a socket

    async def on_connect(self, sid: str, environ: Environ, auth: dict[str, Any] | None) -> None:
        logs.in_socket(sid)
        principal = await self._authenticate(environ, auth)
        await self.save_session(sid, {"user_id": principal.user_id})
        await self.enter_room(sid, user_room(principal.user_id))
        await self._services.presence.connected(principal.user_id, sid)
        # From here on nothing can fail: on_disconnect will undo it.
        self._sessions.open(sid, principal)
        self._metrics.session_opened(principal.role)
        self._log.info("socket_opened", user_id=str(principal.user_id), role=principal.role)
        if self._services.revocations.refuses(principal):
            # Since it was looked at. Once the client has been told that it is connected.
            asyncio.get_running_loop().call_soon(self._sessions.end, sid, Unauthorized())

    async def on_disconnect(self, sid: str, reason: str) -> None:
        logs.in_socket(sid)
        session = self._sessions.close(sid)
        self._joined.disconnected(sid, session)
        principal = session.principal
        self._metrics.session_closed(principal.role)
        self._services.typing.disconnected(principal, sid)
        await self._services.presence.disconnected(principal.user_id, sid)
        self._log.info("socket_closed", user_id=str(principal.user_id), reason=reason)

    async def _authenticate(self, environ: Environ, auth: dict[str, Any] | None) -> Principal:
        """Authenticate a connection. It counts for its user; with a bad token, for its address."""
        address = environ.get(COUNTED_ADDRESS, "")
        token = handshake_token(environ, auth, takes_query=self._takes_query_token)
        try:
            principal = await self._services.sessions.authenticate(token)
        except Unauthorized:
            self._budgets.spend_unproven(address, self._budgets.costs.bad_token)
            raise
        self._budgets.prove(principal, address)
        return principal

    # Events

    async def on_join(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        """First into the room, then the snapshot: what happens in between is in both."""
        session = self._sessions[sid]
        conversation_id = data["conversation_id"]
        if conversation_id not in session.joined:
            join = self._services.conversations.join
            member_ids = await join(session.principal, conversation_id)
            await self._joined.enter(sid, session, conversation_id, member_ids)
        try:
            conversation = await self._services.conversations.get(
                session.principal, conversation_id
            )
        except NotFound:  # since it joined
            self._joined.leave(sid, session, conversation_id)
            raise
        return {"conversation": dump_conversation(conversation)}

    async def on_leave(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        session = self._sessions[sid]
        conversation_id = data["conversation_id"]
        if conversation_id not in session.joined:
            await self._services.conversations.check_access(session.principal, conversation_id)
            return {}
        self._joined.leave(sid, session, conversation_id)
        return {}

    async def on_message(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        sent = await self._services.messages.send(
            self._sessions[sid].principal, data["conversation_id"], requests.draft(data)
        )
        self._metrics.send_answered("socket", time.perf_counter() - started)
        return {"message": self._encoder.encode(sent.message), "duplicate": sent.is_duplicate}

    async def on_edit(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        message = await self._services.messages.edit(
            self._sessions[sid].principal, data["message_id"], data["content"]
        )
        return {"message": self._encoder.encode(message)}

    async def on_delete(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await self._services.messages.delete(self._sessions[sid].principal, data["message_id"])
        return {}

    async def on_typing(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        session = self._sessions[sid]
        conversation_id = data["conversation_id"]
        if conversation_id not in session.joined:
            await self._services.conversations.check_access(session.principal, conversation_id)
            raise Forbidden("The socket has not joined the conversation.")
        await self._services.typing.set_typing(
            session.principal, conversation_id, sid, is_typing=data["is_typing"]
        )
        return {}

    async def on_delivered(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await self._services.receipts.mark_delivered(
            self._sessions[sid].principal, data["conversation_id"], data["seq"]
        )
        return {}

    async def on_read(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        receipts, principal = self._services.receipts, self._sessions[sid].principal
        if data["message_id"] is not None:
            unread = await receipts.mark_message_read(principal, data["message_id"])
        else:
            unread = await receipts.mark_read(principal, data["conversation_id"], data["seq"])
        return {"unread_count": unread}

    async def on_sync(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        principal = self._sessions[sid].principal
        told = self._unread.versions(principal.user_id)
        result = await self._services.sync.sync(
            principal,
            cursor=data["cursor"],
            limit=data["limit"],
            open=open_states(data["open"]),
        )
        self._budgets.synced(principal, result)
        self._unread.synced(principal.user_id, result.unread_version, told)
        return dump_sync(result)

    async def on_authenticate(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        session = self._sessions[sid]
        principal = await self._services.sessions.renew(session.principal, data["token"])
        self._metrics.session_closed(session.principal.role)
        self._metrics.session_opened(principal.role)
        self._sessions.renew(sid, principal)
        await self._joined.look_again(sid, session)
        return {"expires_at": timestamp(principal.expires_at)}
