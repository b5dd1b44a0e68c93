"""The only wiring: everything that a node is made of is put together here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from aiohttp import ClientSession, web
from sqlalchemy.ext.asyncio import AsyncEngine

from chatserver.aio.tasks import end, measure_lag, repeat
from chatserver.api import ApiServices, setup_api
from chatserver.api.internal import create_internal_app
from chatserver.api.jwks_fetch import fetch_key_set
from chatserver.api.pages import setup_pages
from chatserver.api.prices import priced
from chatserver.auth.tokens import TokenVerifier
from chatserver.backplane.backplanes import Backplane
from chatserver.db.engine import Database, StatementRefused, create_engine, one_line
from chatserver.db.host import HostTables
from chatserver.db.migrations import is_current
from chatserver.eio.server import Edge
from chatserver.errors import Unavailable
from chatserver.gauges import Gauges
from chatserver.http.compression import compress
from chatserver.http.connections import name_server, watch_connection
from chatserver.http.origins import OriginPolicy
from chatserver.http.strangers import Strangers
from chatserver.realtime.namespace import ChatAnswers, ChatNamespace, SocketServices
from chatserver.realtime.publisher import SocketPublisher
from chatserver.realtime.python_socketio import (
    SOCKETIO_CHANNEL,
    AsyncServer,
    RedisManager,
    create_manager,
)
from chatserver.realtime.raw import RawDoor
from chatserver.realtime.sessions import Sessions, environ_of
from chatserver.realtime.unread import LatestUnread
from chatserver.schemas.encodings import MessageEncoder
from chatserver.services.budgets import SETTLE_INTERVAL, Budgets
from chatserver.services.conversations import ConversationService
from chatserver.services.hints import HeadHints, UnreadHints
from chatserver.services.maintenance import STRAYS_CHECK, MaintenanceService
from chatserver.services.message_log import MessageLog
from chatserver.services.messages import MessageService
from chatserver.services.nodes import TICK as NODES_TICK
from chatserver.services.nodes import NodeService
from chatserver.services.notices import NoticeService
from chatserver.services.presence import PresenceService
from chatserver.services.readiness import Readiness
from chatserver.services.receipts import ReceiptService
from chatserver.services.revocations import POLL_INTERVAL, RevocationService
from chatserver.services.senders import SenderService
from chatserver.services.sessions import SessionService
from chatserver.services.sweeps import INTERVAL as SWEEP_TICK
from chatserver.services.sweeps import SweepService
from chatserver.services.sync import SyncService
from chatserver.services.typing import TypingService
from chatserver.services.writer import MessageWriter
from chatserver.settings import Settings
from chatserver.sio.cluster_adapter import create_adapter
from chatserver.sio.server import SocketServer
from chatserver.telemetry.metrics import Metrics

DAY: Final = 24 * 60 * 60.0
PRESENCE_TICK: Final = 0.5
RESERVED_CONNECTIONS: Final = 3
"""Beside those for requests: for who is calling, receipts, presence and upkeep."""
READINESS_CHECK: Final = 5.0
"""Seconds between two looks that are for the metrics: they know it also if nobody asks."""
USER_CHECK: Final = 4.0
"""Seconds between two looks at whether the users of open sockets still exist."""


class StartError(Exception):
    """The node cannot start; the message is one line that says why."""


class Node:
    """One node of the server: its parts, and how they begin and end.

    `app` is the aiohttp application that serves it. The parts that hold something
    open are closed by the application's own clean-up.
    """

    def __init__(
        self,
        settings: Settings,
        host: HostTables,
        database: Database,
        backplane: Backplane,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.database = database
        pool = settings.database
        self.requests = requests = database.lane(pool.pool_size, pool.pool_timeout)
        self.backplane = backplane
        self.unread = LatestUnread()
        self.origins = OriginPolicy(settings.cors.origins, settings.server.trusted_proxies)
        self.budgets = Budgets(settings.rate_limit, settings.costs, metrics, backplane.ledger)
        self.strangers = Strangers(self.budgets, self.origins, metrics)
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
        adapter = create_adapter(backplane.bus, {"unread": self.unread.admit})
        self.sockets = SocketServer(
            settings.realtime, edge, ChatAnswers(), adapter=adapter, observer=metrics
        )
        self.manager = create_manager(
            backplane.bus, takes_external=settings.redis.external_emitters
        )
        self.server = AsyncServer(self.sockets, self.manager)
        encoder = MessageEncoder()
        self.publisher = SocketPublisher(adapter, self.metrics, encoder)
        self.heads = HeadHints(database, self.publisher)
        self.counters = UnreadHints(database, self.publisher)
        self.unread.on_doubt(self.counters.doubt)
        self.http = ClientSession()
        self.verifier = TokenVerifier(settings.jwt, partial(fetch_key_set, self.http))
        self.revocations = RevocationService(database, settings.jwt.leeway)
        self.sessions = SessionService(
            database, self.verifier, self.revocations, settings.auth.user_cache_ttl
        )
        self.presence = PresenceService(
            database,
            requests,
            backplane.leases,
            self.publisher,
            settings.presence,
            max_sockets=settings.realtime.max_sockets_per_user,
        )
        self.senders = SenderService(requests, host, settings.auth.user_cache_ttl)
        self.conversations = ConversationService(
            requests, host, self.presence, self.senders, self.publisher, backplane.openings
        )
        self.message_log = MessageLog(settings.logging.messages)
        self.writer_engine = MessageWriter.create_engine(settings.database)
        self.writer = MessageWriter(
            self.writer_engine,
            self.publisher,
            self.heads,
            self.metrics,
            settings.writer,
            introduce=self.conversations.introduce,
            has_others=backplane.has_others,
            log_sent=self.message_log.sent if self.message_log.is_on else None,
        )
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
            database, requests, self.publisher, self.heads, settings.writer
        )
        self.sync = SyncService(
            requests,
            host,
            self.presence,
            self.senders,
            max_answer_bytes=settings.realtime.max_queue_bytes // 2,
            at_once=max(1, pool.pool_size // 2),
        )
        self.nodes = NodeService(database, backplane.signatures, backplane.bus)
        self.maintenance = MaintenanceService(database, self.metrics)
        self.readiness = Readiness(database, backplane.is_ready)
        self.open_sessions = Sessions(self.sockets, settings.jwt.leeway)
        self.namespace = ChatNamespace(
            adapter,
            self.open_sessions,
            SocketServices(
                sessions=self.sessions,
                revocations=self.revocations,
                conversations=self.conversations,
                messages=self.messages,
                receipts=self.receipts,
                presence=self.presence,
                sync=self.sync,
                typing=TypingService(database, self.publisher),
                log=self.message_log,
            ),
            settings,
            self.metrics,
            encoder,
            self.unread,
            self.budgets,
        )
        self.server.register_namespace(self.namespace)
        gauges = Gauges(
            requests,
            pool.pool_size,
            self.readiness,
            self.publisher,
            self.revocations,
            backplane,
            self.manager,
        )
        metrics.on_scrape(partial(gauges.collect, metrics))
        self.app = self._create_app()
        self.internal_app = create_internal_app(metrics)

    def _create_app(self) -> web.Application:
        app = web.Application(client_max_size=self.settings.server.max_body_bytes)
        app.middlewares.append(self.strangers.take_turn)
        setup_api(
            app,
            settings=self.settings,
            services=ApiServices(
                sessions=self.sessions,
                conversations=self.conversations,
                messages=self.messages,
                receipts=self.receipts,
                presence=self.presence,
                sync=self.sync,
                revocations=self.revocations,
                notices=NoticeService(self.publisher),
            ),
            origins=self.origins,
            metrics=self.metrics,
            readiness=self.readiness,
            budgets=self.budgets,
            strangers=self.strangers,
        )
        price = partial(priced, strangers=self.strangers, cost=self.settings.costs.public)
        setup_pages(app, self.settings, self.origins, guard=price)
        self.server.attach(app)
        RawDoor(self.sockets, takes_query_token=self.settings.auth.raw_query_token).attach(app)
        app.on_response_prepare.append(name_server)
        app.cleanup_ctx.append(self._background)
        app.on_shutdown.append(self._drain)
        app.on_cleanup.append(self._close)
        return app

    async def _background(self, _: web.Application) -> AsyncIterator[None]:
        """The tasks that run for as long as the application does."""
        await self.revocations.poll()  # Before the first token is looked at.
        await self._look_at_nodes()  # Before anything is published.
        lease = self.settings.presence.lease_ttl
        work: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (PRESENCE_TICK, self.presence.expire),
            (lease / 3, self._renew_leases),
            (DAY, self.maintenance.ensure_partitions),
            (DAY, self.maintenance.forget_vanished),
            (STRAYS_CHECK, self.maintenance.look_for_strays),
            (DAY, self.revocations.delete_over),
            (POLL_INTERVAL, self.revocations.poll),
            (USER_CHECK, self._close_vanished),
            (SETTLE_INTERVAL, self.budgets.settle),
            (NODES_TICK, self.nodes.tick),
            (READINESS_CHECK, self.readiness.check),
        ]
        if isinstance(self.manager, RedisManager):
            work.append((SWEEP_TICK, self._share(self.manager).tick))
        tasks = [asyncio.create_task(repeat(interval, action)) for interval, action in work]
        tasks.append(asyncio.create_task(measure_lag(self.metrics.loop_lag)))
        yield
        await end(*tasks)

    async def _look_at_nodes(self) -> None:
        try:
            await self.nodes.look()
        except (StatementRefused, Unavailable) as error:
            await self._close(self.app)
            raise StartError(f"chat.nodes, chat.promises and chat.keys: {error}") from error

    def _share(self, manager: RedisManager) -> SweepService:
        """Begin to hear other nodes; the sweeps find what is not heard."""
        bus = self.backplane.bus
        assert bus is not None
        sweeps = SweepService(self.database, self.publisher, bus, self.open_sessions.open_users)
        self.nodes.on_doubt(sweeps.doubt)
        plain = {SOCKETIO_CHANNEL: manager.receive_external}
        bus.start(manager.receive, sweeps.doubt, plain=plain)
        self.server.start()
        return sweeps

    async def _renew_leases(self) -> None:
        await self.presence.renew(self.open_sessions.open_sockets())

    async def _close_vanished(self) -> None:
        users = {user_id for user_id, _ in self.open_sessions.open_sockets()}
        with suppress(Unavailable):
            self.open_sessions.close_users(await self.sessions.find_vanished(users))

    async def _drain(self, _: web.Application) -> None:
        self.readiness.drain()
        await self.sockets.drain(self.settings.server.shutdown_grace)

    async def _close(self, _: web.Application) -> None:
        await self.presence.close()
        await self.receipts.close()
        await self.writer.close()
        await self.heads.close()
        await self.counters.close()
        self.publisher.flush()
        await self.backplane.close()
        await self.nodes.leave()
        await self.server.shutdown()
        await self.verifier.close()
        await self.http.close()
        await self.writer_engine.dispose()
        await self.database.dispose()


async def create_node(settings: Settings) -> Node:
    """Put a node together on a database that is reachable and migrated.

    Raises StartError when it is not. A Redis need not be reachable.
    """
    metrics = Metrics()
    try:
        backplane = Backplane.create(settings, metrics)
    except ValueError as error:
        raise StartError(f"CHAT_REDIS_URL cannot be used: {error}") from None
    engine = create_engine(
        settings.database.url,
        pool_size=settings.database.pool_size + RESERVED_CONNECTIONS,
        pool_timeout=settings.database.pool_timeout,
        statement_timeout=settings.database.statement_timeout,
    )
    try:
        host = await _inspect(engine)
    except BaseException:
        await engine.dispose()
        raise
    return Node(settings, host, Database(engine), backplane, metrics)


async def _inspect(engine: AsyncEngine) -> HostTables:
    try:
        is_migrated = await is_current(engine)
        async with engine.connect() as connection:
            host = await HostTables.inspect(connection)
    except Exception as error:
        raise StartError(f"the database cannot be used: {one_line(error)}") from error
    if not is_migrated:
        raise StartError("the database is not migrated: run `chatserver migrate` first")
    return host


async def create_app(settings: Settings) -> web.Application:
    """The aiohttp application of a node, for a server of one's own. As `create_node`."""
    return (await create_node(settings)).app
