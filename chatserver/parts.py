"""The parts of a node, put together: sockets, publisher, services, namespace."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp import ClientSession

from chatserver.api.jwks_fetch import fetch_key_set
from chatserver.auth.tokens import TokenVerifier
from chatserver.backplane.backplanes import Backplane
from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.eio.server import Edge
from chatserver.gauges import Gauges
from chatserver.http.compression import compress
from chatserver.http.connections import watch_connection
from chatserver.http.origins import OriginPolicy
from chatserver.http.strangers import Strangers
from chatserver.realtime.namespace import ChatAnswers, ChatNamespace, SocketServices
from chatserver.realtime.publisher import SocketPublisher
from chatserver.realtime.python_socketio import AsyncServer, create_manager
from chatserver.realtime.sessions import Sessions, environ_of
from chatserver.realtime.unread import LatestUnread
from chatserver.schemas.encodings import MessageEncoder
from chatserver.services.budgets import Budgets
from chatserver.services.conversations import ConversationService
from chatserver.services.hints import HeadHints, UnreadHints
from chatserver.services.maintenance import MaintenanceService
from chatserver.services.members import MemberService
from chatserver.services.message_log import MessageLog
from chatserver.services.messages import MessageService
from chatserver.services.nodes import NodeService
from chatserver.services.presence import PresenceService
from chatserver.services.readiness import Readiness
from chatserver.services.receipts import ReceiptService
from chatserver.services.revocations import RevocationService
from chatserver.services.senders import SenderService
from chatserver.services.sessions import SessionService
from chatserver.services.sync import SyncService
from chatserver.services.typing import TypingService
from chatserver.services.viewers import Viewers
from chatserver.services.writer import MessageWriter
from chatserver.settings import Settings
from chatserver.sio.client import Client
from chatserver.sio.cluster_adapter import create_adapter
from chatserver.sio.server import SocketServer
from chatserver.telemetry.metrics import Metrics


class Parts:
    """The parts of a node.

    Each that holds something open is put on `closing` as it is made, so that the last is
    closed first: what finishes what waits before what that is told to, that before what
    carries it away, and the database at last. One that cannot be closed keeps none of the
    others open.
    """

    def __init__(
        self,
        settings: Settings,
        host: HostTables,
        database: Database,
        backplane: Backplane,
        metrics: Metrics,
        closing: AsyncExitStack,
    ) -> None:
        """`closing` closes what the node was given."""
        self.settings = settings
        self.metrics = metrics
        self.database = database
        self.backplane = backplane
        self.closing = closing
        self._host = host
        pool = settings.database
        self.requests = database.bulkhead(pool.pool_size, pool.pool_timeout)
        self._encoder = MessageEncoder()
        self._create_sockets()
        self._create_publisher()
        self._create_services()
        self._create_message_services()
        self._create_namespace()
        gauges = Gauges(
            self.requests,
            pool.pool_size,
            self.readiness,
            self.publisher,
            self.revocations,
            backplane,
            self.manager,
        )
        metrics.on_scrape(partial(gauges.collect, metrics))

    def _create_sockets(self) -> None:
        """The edge of sockets, and what both edges ask before they serve anybody."""
        settings, backplane = self.settings, self.backplane
        self.unread = LatestUnread()
        self.origins = OriginPolicy(settings.cors.origins, settings.server.trusted_proxies)
        self.budgets = Budgets(settings.rate_limit, settings.costs, self.metrics, backplane.ledger)
        self.strangers = Strangers(self.budgets, self.origins, self.metrics)
        edge = Edge(
            origin_allowed=self.origins.allows_request,
            counted_address=self.origins.counted_address,
            watch_connection=watch_connection,
            body_timeout=settings.server.request_timeout,
            admit_handshake=self.strangers.admit_handshake,
            admit_request=self.strangers.admit_request,
            environ_of=environ_of,
            compress=compress,
        )
        self.adapter = create_adapter(
            backplane.bus, {"unread": self.unread.admit, "conversation": self._see_members}
        )
        self.sockets = SocketServer(
            settings.realtime, edge, ChatAnswers(), adapter=self.adapter, observer=self.metrics
        )
        self.manager = create_manager(
            backplane.bus, takes_external=settings.redis.external_emitters
        )
        self.server = AsyncServer(self.sockets, self.manager)
        self.closing.push_async_callback(self.server.shutdown)

    def _create_publisher(self) -> None:
        """Create the publisher; this node leaves the others when it publishes no more."""
        database, backplane = self.database, self.backplane
        self.nodes = NodeService(database, backplane.signatures, backplane.bus)
        self.closing.push_async_callback(self.nodes.leave)
        self.closing.push_async_callback(backplane.close)
        self.publisher = SocketPublisher(self.adapter, self.metrics, self._encoder)
        self.closing.callback(self.publisher.flush)
        self.heads = HeadHints(database, self.publisher)
        self.closing.push_async_callback(self.heads.close)
        self.counters = UnreadHints(database, self.publisher)
        self.closing.push_async_callback(self.counters.close)
        self.unread.on_stale(self.counters.request)

    def _create_services(self) -> None:
        """Create the services for sessions, presence and the node's own registration."""
        settings, database = self.settings, self.database
        self.http = ClientSession()
        self.closing.push_async_callback(self.http.close)
        self.verifier = TokenVerifier(settings.jwt, partial(fetch_key_set, self.http))
        self.closing.push_async_callback(self.verifier.close)
        self.revocations = RevocationService(database, settings.jwt.leeway)
        self.sessions = SessionService(
            database, self.verifier, self.revocations, settings.auth.user_cache_ttl
        )
        self.presence = PresenceService(
            database,
            self.requests,
            self.backplane.leases,
            self.publisher,
            settings.presence,
            max_sockets=settings.realtime.max_sockets_per_user,
        )
        self.closing.push_async_callback(self.presence.close)
        self.senders = SenderService(self.requests, self._host, settings.auth.user_cache_ttl)
        self.maintenance = MaintenanceService(database, self.metrics)
        self.readiness = Readiness(database, self.backplane.is_ready)

    def _create_message_services(self) -> None:
        """Conversations and what is in them."""
        settings, requests, backplane = self.settings, self.requests, self.backplane
        viewers = Viewers(self._host, self.presence, self.senders)
        self.conversations = ConversationService(
            requests, self._host, viewers, self.publisher, backplane.openings
        )
        self.members = MemberService(
            requests, self._host, viewers, self.publisher, settings.members
        )
        self.message_log = MessageLog(settings.logging.messages)
        self.writer_engine = MessageWriter.create_engine(settings.database)
        self.closing.push_async_callback(self.writer_engine.dispose)
        self.writer = MessageWriter(
            self.writer_engine,
            self.publisher,
            self.heads,
            self.metrics,
            settings.writer,
            introduce=self.conversations.introduce,
            fill_in=self.senders.fill_in,
            has_others=backplane.has_others,
            log_sent=self.message_log.sent if self.message_log.is_on else None,
        )
        self.closing.push_async_callback(self.writer.close)
        self.messages = MessageService(
            requests,
            self.writer,
            self.publisher,
            self.heads,
            backplane.limits,
            self.senders,
            settings.messages,
        )
        self.receipts = ReceiptService(
            self.database, requests, self.publisher, self.heads, settings.writer
        )
        self.closing.push_async_callback(self.receipts.close)
        self.sync = SyncService(
            requests,
            self._host,
            self.presence,
            self.senders,
            max_answer_bytes=settings.realtime.max_queue_bytes // 2,
            at_once=max(1, settings.database.pool_size // 2),
        )

    def _create_namespace(self) -> None:
        """Create the services that a socket may call."""
        self.open_sessions = Sessions(self.sockets, self.settings.jwt.leeway)
        self.namespace = ChatNamespace(
            self.adapter,
            self.open_sessions,
            SocketServices(
                sessions=self.sessions,
                revocations=self.revocations,
                conversations=self.conversations,
                messages=self.messages,
                receipts=self.receipts,
                presence=self.presence,
                sync=self.sync,
                typing=TypingService(self.database, self.publisher),
                log=self.message_log,
            ),
            self.settings,
            self.metrics,
            self._encoder,
            self.unread,
            self.budgets,
        )
        self.server.register_namespace(self.namespace)

    def _see_members(self, _: Collection[Client], payload: dict[str, Any]) -> dict[str, Any]:
        """Have sockets of this node leave the rooms of a conversation that their user left."""
        self.namespace.members_changed(payload)
        return payload
