"""The only wiring: everything that a node is made of is put together here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import cached_property, partial
from typing import Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from chatserver.aio.tasks import end, measure_lag, repeat
from chatserver.api import ApiServices, setup_api
from chatserver.api.internal import create_internal_app
from chatserver.api.pages import setup_pages
from chatserver.api.prices import priced
from chatserver.backplane.backplanes import Backplane
from chatserver.db.engine import Database, StatementRefused, create_engine, one_line
from chatserver.db.host import HostTables
from chatserver.db.migrations import is_current
from chatserver.errors import Unavailable
from chatserver.http.connections import name_server
from chatserver.parts import Parts
from chatserver.realtime.python_socketio import SOCKETIO_CHANNEL, RedisManager
from chatserver.realtime.raw import RawEndpoint
from chatserver.services.budgets import SETTLE_INTERVAL
from chatserver.services.maintenance import STRAYS_CHECK
from chatserver.services.members import WALK_INTERVAL
from chatserver.services.nodes import TICK as NODES_TICK
from chatserver.services.notices import NoticeService
from chatserver.services.reconciliation import INTERVAL as RECONCILIATION_TICK
from chatserver.services.reconciliation import ReconciliationService
from chatserver.services.revocations import POLL_INTERVAL
from chatserver.settings import Settings
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


class Node(Parts):
    """One node of the server: its application, its upkeep, and its end.

    `app` is the aiohttp application that serves it, and closes it when it ends.
    """

    @cached_property
    def internal_app(self) -> web.Application:
        """The application of the internal port."""
        return create_internal_app(self.metrics)

    @cached_property
    def app(self) -> web.Application:
        app = web.Application(client_max_size=self.settings.server.max_body_bytes)
        app.middlewares.append(self.strangers.take_turn)
        setup_api(
            app,
            settings=self.settings,
            services=ApiServices(
                sessions=self.sessions,
                conversations=self.conversations,
                members=self.members,
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
        RawEndpoint(self.sockets, takes_query_token=self.settings.auth.raw_query_token).attach(app)
        app.on_response_prepare.append(name_server)
        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(self._drain)
        return app

    async def _run(self, _: web.Application) -> AsyncIterator[None]:
        """For as long as the application runs: the node's upkeep, and then its end."""
        async with self.closing:
            await self.revocations.poll()  # Before the first token is looked at.
            await self._look_at_nodes()  # Before anything is published.
            tasks = [
                asyncio.create_task(repeat(interval, action)) for interval, action in self._upkeep()
            ]
            tasks.append(asyncio.create_task(measure_lag(self.metrics.loop_lag)))
            self.closing.push_async_callback(end, *tasks)
            yield

    def _upkeep(self) -> list[tuple[float, Callable[[], Awaitable[object]]]]:
        """Periodic tasks, each with its interval in seconds."""
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
            (WALK_INTERVAL, self._walk_members),
            (READINESS_CHECK, self.readiness.check),
        ]
        if isinstance(self.manager, RedisManager):
            work.append((RECONCILIATION_TICK, self._share(self.manager).tick))
        return work

    async def _look_at_nodes(self) -> None:
        try:
            await self.nodes.look()
        except (StatementRefused, Unavailable) as error:
            raise StartError(f"chat.nodes, chat.promises and chat.keys: {error}") from error

    def _share(self, manager: RedisManager) -> ReconciliationService:
        """Begin to receive from other nodes; reconciliation finds what does not arrive."""
        bus = self.backplane.bus
        assert bus is not None
        users = self.open_sessions.open_users
        reconciliation = ReconciliationService(self.database, self.publisher, bus, users)
        self.nodes.on_gap(reconciliation.require)
        plain = {SOCKETIO_CHANNEL: manager.receive_external}
        bus.start(manager.receive, reconciliation.require, plain=plain)
        self.server.start()
        return reconciliation

    async def _renew_leases(self) -> None:
        await self.presence.renew(self.open_sessions.open_sockets())

    async def _close_vanished(self) -> None:
        users = {user_id for user_id, _ in self.open_sessions.open_sockets()}
        with suppress(Unavailable):
            self.open_sessions.close_users(await self.sessions.find_vanished(users))

    async def _walk_members(self) -> None:
        with suppress(Unavailable):
            await self.members.walk()

    async def _drain(self, _: web.Application) -> None:
        self.readiness.drain()
        await self.sockets.drain(self.settings.server.shutdown_grace)


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
    async with AsyncExitStack() as closing:
        closing.push_async_callback(engine.dispose)
        host = await _inspect(engine)
        node = Node(settings, host, Database(engine), backplane, metrics, closing)
        node.closing = closing.pop_all()
    return node


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
