"""The chat over Socket.IO: each client event is parsed, given to one service, dumped."""

import asyncio
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import marshmallow as ma
import socketio  # type: ignore[import-untyped]
import structlog

from chatserver.aio.deadlines import Deadlines
from chatserver.eio.handshakes import Environ
from chatserver.errors import (
    ChatError,
    Forbidden,
    InternalError,
    InvalidPayload,
    RateLimited,
    TokenExpired,
    Unauthorized,
    Unavailable,
    UnknownEvent,
)
from chatserver.http.strangers import COUNTED_ADDRESS
from chatserver.models import Principal
from chatserver.realtime.handlers import Handler, in_turn
from chatserver.realtime.joined import JoinedRooms
from chatserver.realtime.sessions import Session, handshake_token
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
from chatserver.sio.adapter import user_room
from chatserver.sio.server import ChatSocketServer
from chatserver.telemetry import logs
from chatserver.telemetry.metrics import Metrics

MAX_TIMER: Final = timedelta(days=30)
"""A token that lives longer is looked at again after this time."""

RETRY_AFTER: Final = 1.0


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


class ChatNamespace(socketio.AsyncNamespace):  # type: ignore[misc]
    """The namespace "/". What the three `on_` methods owe is in `realtime.server`."""

    def __init__(
        self,
        server: ChatSocketServer,
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
        self._server = server
        self._services = services
        self._settings = settings
        self._metrics = metrics
        self._log = structlog.get_logger(__name__)
        self._sessions: dict[str, Session] = {}
        self._joined = JoinedRooms(server, services.typing)
        self._deadlines = Deadlines[dict[str, Any]](settings.realtime.handler_timeout)
        services.revocations.on_change(self._close_revoked)
        handlers: Mapping[str, tuple[ma.Schema, Handler]] = {
            "join": (requests.ConversationEvent(), self._join),
            "leave": (requests.ConversationEvent(), self._leave),
            "message": (requests.MessageEvent(), self._message),
            "edit": (requests.EditEvent(), self._edit),
            "delete": (requests.DeleteEvent(), self._delete),
            "typing": (requests.TypingEvent(), self._typing),
            "delivered": (requests.DeliveredEvent(), self._delivered),
            "read": (requests.ReadEvent(), self._read),
            "sync": (SyncRequest(), self._sync),
            "authenticate": (requests.AuthenticateEvent(), self._authenticate),
        }
        costs, turns = budgets.costs, budgets.turns
        self._handlers = {
            event: (Loader(schema), in_turn(event, handler, turns), costs.of_event(event))
            for event, (schema, handler) in handlers.items()
        }

    @property
    def schemas(self) -> Mapping[str, ma.Schema]:
        """Each event that clients may send, and what loads its payload."""
        return {event: loader.schema for event, (loader, _, _) in self._handlers.items()}

    def open_sockets(self) -> list[tuple[UUID, str]]:
        """The user and the id of each socket of this node."""
        return [(session.principal.user_id, sid) for sid, session in self._sessions.items()]

    def open_users(self) -> set[UUID]:
        """Who has a socket of this node."""
        return {session.principal.user_id for session in self._sessions.values()}

    def close_users(self, user_ids: Container[UUID]) -> None:
        """Close the sockets of these users: their tokens are good no more."""
        self._close_where(lambda principal: principal.user_id in user_ids)

    # The life of a socket

    async def on_connect(self, sid: str, environ: Environ, auth: dict[str, Any] | None) -> None:
        logs.in_socket(sid)
        principal = await self._authenticate_handshake(environ, auth)
        await self._server.enter_room(sid, user_room(principal.user_id))
        await self._services.presence.connected(principal.user_id, sid)
        # From here on nothing can fail: on_disconnect will undo it.
        session = self._sessions[sid] = Session(principal)
        self._watch_expiry(sid, session)
        self._metrics.session_opened(principal.role)
        self._log.info("socket_opened", user_id=str(principal.user_id), role=principal.role)
        if self._services.revocations.refuses(principal):
            # Since it was looked at. Once the client has been told that it is connected.
            asyncio.get_running_loop().call_soon(self._refuse, sid, Unauthorized())

    async def on_disconnect(self, sid: str, reason: str) -> None:
        logs.in_socket(sid)
        session = self._sessions.pop(sid)
        if session.expiry is not None:
            session.expiry.cancel()
        principal = session.principal
        self._metrics.session_closed(principal.role)
        self._services.typing.disconnected(principal, sid)
        await self._services.presence.disconnected(principal.user_id, sid)
        self._log.info("socket_closed", user_id=str(principal.user_id), reason=reason)

    async def on_event(self, sid: str, event: str, args: list[Any]) -> dict[str, Any]:
        """The acknowledgement: `{"ok": True, …}` or `{"ok": False, "error": {…}}`."""
        logs.in_socket(sid, event)
        try:
            answer = await self._handle(sid, event, args)
            result = "ok"
        except ChatError as error:
            answer, result = {"ok": False, "error": error.to_dict()}, error.code
            if isinstance(error, RateLimited) and error.told_for is not None:
                self._refused(sid, error)  # `Budgets` logs them, by the user
            else:
                self._services.log.refused(error)
        except Exception:
            self._log.exception("event_failed")
            answer, result = {"ok": False, "error": InternalError().to_dict()}, InternalError.code
        self._metrics.event_handled(event if event in self._handlers else "unknown", result)
        return answer

    async def _handle(self, sid: str, event: str, args: list[Any]) -> dict[str, Any]:
        session = self._sessions[sid]
        if event not in self._handlers:
            self._budgets.spend(session.principal, self._budgets.costs.event)
            raise UnknownEvent
        loader, handler, cost = self._handlers[event]
        self._budgets.spend(session.principal, cost)
        if len(args) != 1:
            raise InvalidPayload("An event has exactly one payload.", fields={})
        payload = loader.load(args[0])
        try:
            answer = await self._deadlines.run(handler(sid, session, payload))
        except TimeoutError:
            raise Unavailable("The event took too long.", retry_after=RETRY_AFTER) from None
        return {"ok": True, **answer}

    # Events

    async def _join(self, sid: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        """First into the room, then the snapshot: what happens in between is in both."""
        conversation_id = payload["conversation_id"]
        if conversation_id not in session.joined:
            join = self._services.conversations.join
            participants = await join(session.principal, conversation_id)
            await self._joined.enter(sid, session, conversation_id, participants)
        conversation = await self._services.conversations.get(session.principal, conversation_id)
        return {"conversation": dump_conversation(conversation)}

    async def _leave(self, sid: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        conversation_id = payload["conversation_id"]
        if conversation_id not in session.joined:
            await self._services.conversations.check_access(session.principal, conversation_id)
            return {}
        await self._joined.leave(sid, session, conversation_id)
        return {}

    async def _message(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        sent = await self._services.messages.send(
            session.principal, payload["conversation_id"], requests.draft(payload)
        )
        self._metrics.send_answered("socket", time.perf_counter() - started)
        return {"message": self._encoder.encode(sent.message), "duplicate": sent.is_duplicate}

    async def _edit(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        message = await self._services.messages.edit(
            session.principal, payload["message_id"], payload["content"]
        )
        return {"message": self._encoder.encode(message)}

    async def _delete(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        await self._services.messages.delete(session.principal, payload["message_id"])
        return {}

    async def _typing(self, sid: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        conversation_id = payload["conversation_id"]
        if conversation_id not in session.joined:
            await self._services.conversations.check_access(session.principal, conversation_id)
            raise Forbidden("The socket has not joined the conversation.")
        await self._services.typing.set_typing(
            session.principal, conversation_id, sid, is_typing=payload["is_typing"]
        )
        return {}

    async def _delivered(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        await self._services.receipts.mark_delivered(
            session.principal, payload["conversation_id"], payload["seq"]
        )
        return {}

    async def _read(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        receipts, principal = self._services.receipts, session.principal
        if payload["message_id"] is not None:
            unread = await receipts.mark_message_read(principal, payload["message_id"])
        else:
            unread = await receipts.mark_read(principal, payload["conversation_id"], payload["seq"])
        return {"unread_count": unread}

    async def _sync(self, _: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        principal = session.principal
        told = self._unread.versions(principal.user_id)
        result = await self._services.sync.sync(
            principal,
            cursor=payload["cursor"],
            limit=payload["limit"],
            open=open_states(payload["open"]),
        )
        self._budgets.synced(principal, result)
        self._unread.synced(principal.user_id, result.unread_version, told)
        return dump_sync(result)

    async def _authenticate(
        self, sid: str, session: Session, payload: dict[str, Any]
    ) -> dict[str, Any]:
        principal = await self._services.sessions.renew(session.principal, payload["token"])
        self._metrics.session_closed(session.principal.role)
        self._metrics.session_opened(principal.role)
        session.principal = principal
        self._watch_expiry(sid, session)
        await self._joined.look_again(sid, session)
        return {"expires_at": timestamp(principal.expires_at)}

    # Tokens and budgets

    async def _authenticate_handshake(
        self, environ: Environ, auth: dict[str, Any] | None
    ) -> Principal:
        """Who connects. The handshake is its user's; with a bad token, its address'."""
        address = environ.get(COUNTED_ADDRESS, "")
        token = handshake_token(environ, auth, takes_query=self._settings.auth.query_token)
        try:
            principal = await self._services.sessions.authenticate(token)
        except Unauthorized:
            self._budgets.spend_unproven(address, self._budgets.costs.bad_token)
            raise
        self._budgets.prove(principal, address)
        return principal

    def _refused(self, sid: str, error: RateLimited) -> None:
        """Close a socket that goes on although it was told to wait."""
        refusals = self._sessions[sid].refusals
        if refusals.add(asyncio.get_running_loop().time(), error.retry_after or 0.0):
            self._metrics.budget_closed()
            self._log.info("socket_over_budget")
            self._server.emit_now("error", error.to_dict(), [sid])
            self._server.turn_away(sid)

    def _watch_expiry(self, sid: str, session: Session) -> None:
        """Have the socket closed when its token runs out.

        A token may still be presented for the leeway after its end; a socket opened
        in that time lives until the leeway is over.
        """
        if session.expiry is not None:
            session.expiry.cancel()
        now, end = datetime.now(UTC), session.principal.expires_at
        if end <= now:
            end += timedelta(seconds=self._settings.jwt.leeway)
        delay = min(max(end - now, timedelta(0)), MAX_TIMER)
        session.expiry = asyncio.get_running_loop().call_later(
            delay.total_seconds(), self._expire, sid, session
        )

    def _expire(self, sid: str, session: Session) -> None:
        if session.principal.expires_at > datetime.now(UTC):
            self._watch_expiry(sid, session)
            return
        self._refuse(sid, TokenExpired())

    def _close_revoked(self) -> None:
        self._close_where(self._services.revocations.refuses)

    def _close_where(self, is_refused: Callable[[Principal], bool]) -> None:
        for sid in [sid for sid, one in self._sessions.items() if is_refused(one.principal)]:
            self._refuse(sid, Unauthorized())

    def _refuse(self, sid: str, error: Unauthorized) -> None:
        """Tell a socket why, and end it for good."""
        self._server.emit_now("error", error.to_dict(), [sid])
        self._server.disconnect_now(sid)
