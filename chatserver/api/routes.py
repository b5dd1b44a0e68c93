"""Every route of the REST edge, in one table: what is served is what is documented.

A new route is a handler and an entry here. Path parameters are ids; a query or body
is loaded by the schema that the entry names, and anything else in it is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chatserver.api import config, control, conversations, messages, operations, users
from chatserver.api.calls import Handler
from chatserver.errors import (
    Blocked,
    ChatError,
    Forbidden,
    IdempotencyConflict,
    InternalError,
    InvalidPayload,
    NotFound,
    OwnListing,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from chatserver.http.problems import BadRequest, HeaderFieldsTooLarge, RequestTimeout
from chatserver.schemas import objects, requests
from chatserver.schemas.base import Schema
from chatserver.schemas.notices import AcceptedSchema, NoticeBody
from chatserver.schemas.revocations import RevocationBody, RevocationSchema
from chatserver.schemas.sync import SyncQuery, SyncSchema

LINK: Final = "Link"
LOCATION: Final = "Location"

FREE: Final = "free"
"""The cost of what load balancers ask: a node that refused it would get no requests."""

JSON: Final = "application/json"
TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no error: with `schema` None it has no JSON, or no body at all."""

    status: int
    schema: type[Schema] | None = None
    is_list: bool = False
    description: str = "Done."
    media_type: str = JSON
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `errors` are those of its own; what any such route may answer
    follows from the rest, see `all_errors`. `name` is its operationId. `cost` names a
    setting of [costs]: `request` or, for a public one, `public` unless it says so."""

    method: str
    path: str
    handler: Handler
    answers: Sequence[Answer]
    summary: str
    tag: str
    errors: Sequence[type[ChatError]] = ()
    query: type[Schema] = Schema
    body: type[Schema] | None = None
    is_body_optional: bool = False
    takes_idempotency_key: bool = False
    is_public: bool = False
    variant: str = ""
    cost: str = ""

    @property
    def name(self) -> str:
        return self.handler.__name__ + self.variant

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def all_errors(self) -> tuple[type[ChatError], ...]:
        """Every error that the route may answer, in the order of their statuses."""
        errors: set[type[ChatError]] = {
            *(BadRequest, Forbidden, HeaderFieldsTooLarge, InternalError),
            *self.errors,
        }
        if self.cost != FREE:
            errors.add(RateLimited)
        if not self.is_public:
            errors |= {Unauthorized, InvalidPayload, Unavailable}
        if self.path_parameters:
            errors.add(NotFound)
        if self.body is not None:
            errors |= {PayloadTooLarge, UnsupportedMedia, RequestTimeout}
        return tuple(sorted(errors, key=lambda error: (error.status, error.code)))


CONVERSATIONS: Final = "Conversations"
MESSAGES: Final = "Messages"
USERS: Final = "Users"
CONTROL: Final = "Control"
OPERATIONS: Final = "Operations"

_SUCCESS = Answer(200, objects.StatusSchema)
_READ = Answer(200, objects.ReadStatusSchema, description="It and every earlier one are read.")
_MESSAGE = Answer(200, objects.MessageSchema, description="The message as it is now.")

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST",
        "/api/chat/conversations",
        conversations.open_conversation,
        (
            Answer(
                201,
                objects.ConversationSchema,
                description="A new conversation, of which the caller is the client.",
                headers=(LOCATION,),
            ),
            Answer(200, objects.ConversationSchema, description="The one that exists."),
        ),
        "Open the caller's conversation about a listing",
        CONVERSATIONS,
        errors=(NotFound, OwnListing, Blocked),
        body=requests.OpenConversation,
    ),
    Route(
        "GET",
        "/api/chat/conversations",
        conversations.list_conversations,
        (
            Answer(
                200,
                objects.ConversationSchema,
                is_list=True,
                description="Latest activity first.",
                headers=(LINK,),
            ),
        ),
        "List the caller's conversations",
        CONVERSATIONS,
        query=requests.ListQuery,
    ),
    Route(
        "GET",
        "/api/chat/conversations/{conversation_id}",
        conversations.get_conversation,
        (Answer(200, objects.ConversationSchema, description="As the caller sees it."),),
        "Get a conversation",
        CONVERSATIONS,
    ),
    Route(
        "PATCH",
        "/api/chat/conversations/{conversation_id}/archive",
        conversations.archive_conversation,
        (_SUCCESS,),
        "Archive a conversation for the caller's side, or bring it back",
        CONVERSATIONS,
        body=requests.Archive,
        is_body_optional=True,
    ),
    Route(
        "GET",
        "/api/chat/conversations/{conversation_id}/messages",
        messages.list_messages,
        (
            Answer(
                200,
                objects.MessageSchema,
                is_list=True,
                description="Newest first; oldest first with after_seq.",
                headers=(LINK,),
            ),
        ),
        "Page through a conversation's messages",
        MESSAGES,
        query=requests.HistoryQuery,
    ),
    Route(
        "POST",
        "/api/chat/conversations/{conversation_id}/messages",
        messages.send_message,
        (
            Answer(201, objects.MessageSchema, description="Stored, with its number for ever."),
            Answer(
                200,
                objects.MessageSchema,
                description="The first message that was sent with this client_msg_id.",
            ),
        ),
        "Send a message",
        MESSAGES,
        errors=(Blocked, IdempotencyConflict),
        body=requests.MessageBody,
        takes_idempotency_key=True,
    ),
    *(
        Route(
            method,
            "/api/chat/messages/{message_id}/read",
            messages.mark_read,
            (_READ,),
            "Mark a message and all before it as read",
            MESSAGES,
            variant=variant,
        )
        for method, variant in (("PATCH", ""), ("POST", "_by_post"))
    ),
    Route(
        "PATCH",
        "/api/chat/messages/{message_id}",
        messages.edit_message,
        (_MESSAGE,),
        "Replace the text of the caller's own message",
        MESSAGES,
        body=requests.EditBody,
    ),
    Route(
        "DELETE",
        "/api/chat/messages/{message_id}",
        messages.delete_message,
        (Answer(204, description="Its number stays, its text is gone."),),
        "Delete the caller's own message",
        MESSAGES,
    ),
    Route(
        "GET",
        "/api/chat/unread-count",
        users.get_unread_count,
        (Answer(200, objects.UnreadCountSchema, description="Over all conversations."),),
        "Count what the caller has not read",
        USERS,
    ),
    Route(
        "GET",
        "/api/chat/sync",
        users.get_changes,
        (Answer(200, SyncSchema, description="A page; ask again while `has_more`."),),
        "Ask what has changed since a cursor",
        CONVERSATIONS,
        cost="sync",
        query=SyncQuery,
    ),
    Route(
        "GET",
        "/api/chat/users/{user_id}/presence",
        users.get_presence,
        (Answer(200, objects.PresenceSchema, description="Best effort."),),
        "Ask whether somebody whom the caller talks to is online",
        USERS,
    ),
    Route(
        "GET",
        "/api/chat/config",
        config.get_config,
        (Answer(200, config.ConfigSchema, description="The same for everybody."),),
        "Limits that a page must know",
        USERS,
        is_public=True,
    ),
    Route(
        "POST",
        "/api/chat/revocations",
        control.add_revocation,
        (
            Answer(
                201,
                RevocationSchema,
                description="Refused here from now on, on every other node within 5 s; "
                "open sockets are closed.",
                headers=(LOCATION,),
            ),
            Answer(
                200,
                RevocationSchema,
                description="It was revoked before; a user's now includes what was issued since.",
            ),
        ),
        "Refuse a token, or all tokens that a user has (service and admin alone)",
        CONTROL,
        body=RevocationBody,
    ),
    Route(
        "DELETE",
        "/api/chat/revocations/{revocation_id}",
        control.lift_revocation,
        (Answer(204, description="The tokens are accepted again, everywhere within 5 s."),),
        "Lift a revocation (service and admin alone)",
        CONTROL,
    ),
    Route(
        "POST",
        "/api/chat/notices",
        control.send_notice,
        (
            Answer(
                202,
                AcceptedSchema,
                description="Sent to who is connected; nothing is stored or repeated.",
            ),
        ),
        "Send a notice to everybody's devices, or some users' (service and admin alone)",
        CONTROL,
        body=NoticeBody,
    ),
    Route(
        "GET",
        "/healthz",
        operations.get_health,
        (Answer(200, operations.HealthSchema, description="The process lives."),),
        "Liveness",
        OPERATIONS,
        is_public=True,
        cost=FREE,
    ),
    Route(
        "GET",
        "/readyz",
        operations.get_readiness,
        (
            Answer(200, operations.ReadinessSchema, description="Send requests here."),
            Answer(503, operations.ReadinessSchema, description="Send none."),
        ),
        "Readiness",
        OPERATIONS,
        query=operations.ReadinessQuery,
        is_public=True,
        cost=FREE,
    ),
    Route(
        "GET",
        operations.METRICS,
        operations.get_metrics,
        (
            Answer(
                200,
                media_type=TEXT,
                description="In the format that Accept asks for; only where"
                " `server.public_metrics` is on. Else it is on `server.internal_port`.",
            ),
        ),
        "Prometheus metrics",
        OPERATIONS,
        is_public=True,
    ),
)
