"""The form of a route: what is served, and documented.

The table of a section, `ROUTES`, stands under its handlers, and all of them are put together
in `table.py`. A new route is a handler and an entry there. Path parameters are ids; a query
or body is loaded by the schema that the entry names, and anything else in it is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chatserver.api.calls import Handler
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
    UnsupportedMedia,
)
from chatserver.http.problems import BadRequest, HeaderFieldsTooLarge, RequestTimeout
from chatserver.schemas.base import Schema

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
