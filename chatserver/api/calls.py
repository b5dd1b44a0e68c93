"""Arguments of a handler: the services, and a request that is already parsed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiohttp import web

from chatserver.http.strangers import Strangers
from chatserver.models import Principal
from chatserver.services.budgets import Budgets
from chatserver.services.conversations import ConversationService
from chatserver.services.members import MemberService
from chatserver.services.messages import MessageService
from chatserver.services.notices import NoticeService
from chatserver.services.presence import PresenceService
from chatserver.services.readiness import Readiness
from chatserver.services.receipts import ReceiptService
from chatserver.services.revocations import RevocationService
from chatserver.services.sessions import SessionService
from chatserver.services.sync import SyncService
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics

REQUEST_ID = web.RequestKey("request_id", str)
PRINCIPAL = web.RequestKey("principal", Principal)


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The services that routes call."""

    sessions: SessionService
    conversations: ConversationService
    members: MemberService
    messages: MessageService
    receipts: ReceiptService
    presence: PresenceService
    sync: SyncService
    revocations: RevocationService
    notices: NoticeService


@dataclass(frozen=True, slots=True)
class Api:
    """All that handlers may use; there is one for an application."""

    services: ApiServices
    metrics: Metrics
    readiness: Readiness
    settings: Settings
    budgets: Budgets
    strangers: Strangers


@dataclass(frozen=True, slots=True)
class Call:
    """A request as its route describes it: authenticated, and valid by its schemas.

    `ids` are the parts of the path by name; `query` and `body` are what the route's
    schemas loaded, and empty where it has none. `started` is when the request was
    taken up, by `time.perf_counter`.
    """

    request: web.Request
    started: float
    ids: Mapping[str, UUID] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        """The authenticated caller. Not for public routes, which have none."""
        return self.request[PRINCIPAL]


Handler = Callable[[Api, Call], Awaitable[web.Response]]
"""Calls one service method and dumps what it answers; errors it lets pass."""
