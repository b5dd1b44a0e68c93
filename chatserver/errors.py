"""The error tree: every failure that a client may see, in one place.

    ChatError
    ├── Unauthorized            401  unauthorized
    │   └── TokenExpired        401  token_expired
    ├── Forbidden               403  forbidden
    │   └── Blocked             403  blocked
    ├── NotFound                404  not_found
    ├── OwnListing              409  own_listing
    ├── IdempotencyConflict     409  idempotency_conflict
    ├── TooManyParticipants     409  too_many_participants
    ├── PayloadTooLarge         413  payload_too_large
    ├── UnsupportedMedia        415  unsupported_media
    ├── InvalidPayload          422  invalid_payload
    │   └── ContentRejected     422  content_rejected
    ├── RateLimited             429  rate_limited
    ├── UnknownEvent             -   unknown_event
    ├── InternalError           500  internal_error
    └── Unavailable             503  unavailable

Services raise them; each edge has one function that turns them into its wire
format (`chatserver.api.middlewares`, `chatserver.realtime.namespace`). Anything
else that escapes is logged there and answered as `InternalError`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

TOLD_GRACE: Final = 2.0
"""Seconds in which what comes after `rate_limited` may have been under way before it."""

Fields = Mapping[str, Sequence[str]]


class ChatError(Exception):
    """A failure with a code of the wire contract.

    `detail` is one sentence for a developer: it never holds SQL, a trace, a
    token or a message's content. `retryable` says that the same request may
    succeed later; `retry_after` is in seconds; `fields` names each bad field
    with what is wrong about it. `about` is for the log alone: ids and numbers
    of what was refused.
    """

    about: Mapping[str, Any] = MappingProxyType({})

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    retryable: ClassVar[bool] = False
    default_detail: ClassVar[str] = ""

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: float | None = None,
        fields: Fields | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.retry_after = retry_after
        self.fields = fields
        super().__init__(self.detail)

    def to_dict(self) -> dict[str, Any]:
        """The error object of an acknowledgement: `{code, detail, retryable, …}`."""
        body: dict[str, Any] = {
            "code": self.code,
            "detail": self.detail,
            "retryable": self.retryable,
        }
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        if self.fields is not None:
            body["fields"] = {name: list(problems) for name, problems in self.fields.items()}
        return body


class Unauthorized(ChatError):
    code = "unauthorized"
    status = 401
    title = "Unauthorized"
    default_detail = "A valid token is required."


class TokenExpired(Unauthorized):
    """The token of an open socket has run out; never an answer to a fresh token."""

    code = "token_expired"
    default_detail = "The token has expired."


class Forbidden(ChatError):
    code = "forbidden"
    status = 403
    title = "Forbidden"
    default_detail = "The caller may not do this."


class Blocked(Forbidden):
    code = "blocked"
    default_detail = "One of the two participants has blocked the other."


class NotFound(ChatError):
    """It does not exist or is not the caller's: deliberately the same answer."""

    code = "not_found"
    status = 404
    title = "Not found"
    default_detail = "No such thing, or it is not yours."


class OwnListing(ChatError):
    code = "own_listing"
    status = 409
    title = "Own listing"
    default_detail = "The owner of a listing cannot open a conversation about it."


class IdempotencyConflict(ChatError):
    code = "idempotency_conflict"
    status = 409
    title = "Idempotency conflict"
    default_detail = "This client_msg_id was used before with another body."


class TooManyParticipants(ChatError):
    code = "too_many_participants"
    status = 409
    title = "Too many participants"
    default_detail = "The conversation has as many participants as it may have."


class PayloadTooLarge(ChatError):
    code = "payload_too_large"
    status = 413
    title = "Payload too large"
    default_detail = "The payload is larger than the server accepts."


class UnsupportedMedia(ChatError):
    code = "unsupported_media"
    status = 415
    title = "Unsupported media type"
    default_detail = "The server does not accept this media type."


class InvalidPayload(ChatError):
    code = "invalid_payload"
    status = 422
    title = "Invalid payload"
    default_detail = "The payload is not valid."


class ContentRejected(InvalidPayload):
    code = "content_rejected"
    default_detail = "The content is not acceptable."


class RateLimited(ChatError):
    code = "rate_limited"
    status = 429
    title = "Too many requests"
    retryable = True
    default_detail = "Too many messages in a short time."

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: float | None = None,
        fields: Fields | None = None,
        told_for: float | None = None,
    ) -> None:
        """`told_for`: for how many seconds the caller has been told to wait, by its budget."""
        super().__init__(detail, retry_after=retry_after, fields=fields)
        self.told_for = told_for


class UnknownEvent(ChatError):
    code = "unknown_event"
    status = 400
    title = "Unknown event"
    default_detail = "The server knows no such event."


class InternalError(ChatError):
    code = "internal_error"
    status = 500
    title = "Internal server error"
    default_detail = "The server failed; the failure has been logged."


class Unavailable(ChatError):
    """A part that the server needs is away; whether the request took effect is unknown."""

    code = "unavailable"
    status = 503
    title = "Service unavailable"
    retryable = True
    default_detail = "The server cannot do this right now; try again."
