"""Running a node as a process: from the first socket to the last after SIGTERM."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog
from aiohttp import web

from chatserver.app import Node, StartError, create_node
from chatserver.http import open_files
from chatserver.http.admissions import SPARE, Admissions
from chatserver.http.connections import ConnectionRunner, limit_kernel
from chatserver.settings import ServerSettings, Settings

KEEPALIVE: Final = 75.0
"""Longer than a load balancer keeps its connections, so that it is not we who close."""

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: all clients of a node that fell may come at once."""

LINGERING: Final = 1.5
"""Seconds for which the rest of a refused body is read, so that the response arrives."""

OTHER_FILES: Final = 64
"""Descriptors kept for what is no client: sends, Redis, upkeep, keys, files of the page."""

FEWEST_CONNECTIONS: Final = 20

RESERVE: Final = 2.5
"""On top of the grace: for closing what is open."""


async def serve(settings: Settings, on_ready: Callable[[], None] | None = None) -> None:
    """Serve one node until SIGTERM or SIGINT, then end in order.

    Raises StartError, also when the port is taken. The end: /readyz fails; after
    `drain_delay` no connection is accepted any more, and the sockets leave over
    `drain_spread`, so that their clients come back by themselves and not all at once;
    requests on open connections are answered until all that is done. Another signal
    skips what is left of the delay and the spread.

    The internal port is open from before the public one to the end of all this.

    What is in flight has `shutdown_grace` after the delay. Whatever hangs RESERVE later
    is left behind: the process ends with 0 all the same.
    """
    files = open_files.raise_limit()
    node = await create_node(settings)
    admissions = _admissions(node, files)
    runner = _create_runner(
        node.app,
        settings.server,
        on_unread=node.metrics.answer_not_read,
        admissions=admissions,
    )
    inside = _create_runner(node.internal_app, settings.server)
    await runner.setup()
    await inside.setup()
    _calm_garbage_collector()
    try:
        if settings.server.internal_port:
            await _start(inside, settings.server.internal_host, settings.server.internal_port)
        site = await _listen(runner, settings.server)
        if admissions.most < settings.server.max_connections:
            structlog.get_logger(__name__).warning(
                "few_open_files",
                open_files_limit=files,
                connections=admissions.most,
                max_connections=settings.server.max_connections,
            )
        if on_ready is not None:
            on_ready()
        signals = Signals()
        await signals.end.wait()
        _set_deadline(settings.server)
        await _drain(node, site, signals.hurry)
    finally:
        await runner.cleanup()
        await inside.cleanup()
    structlog.get_logger(__name__).info("stopped")


def _create_runner(
    app: web.Application, server: ServerSettings, **options: Any
) -> ConnectionRunner:
    return ConnectionRunner(
        app,
        handle_signals=False,
        shutdown_timeout=server.shutdown_grace,
        connection_options={
            "request_timeout": server.request_timeout,
            "write_timeout": server.write_timeout,
            "access_log": None,
            "keepalive_timeout": KEEPALIVE,
            "lingering_time": LINGERING,
            **options,
        },
    )


def _admissions(node: Node, files: int) -> Admissions:
    """Admit as many connections as are wanted and as `files` descriptors leave room for.

    Raises StartError where that is next to none.
    """
    settings, metrics = node.settings, node.metrics
    used = open_files.count_open() + settings.database.pool_size + OTHER_FILES
    most = min(settings.server.max_connections, files - used - SPARE)
    if most < FEWEST_CONNECTIONS:
        raise StartError(
            f"{files} open files (ulimit -n) leave room for {max(most, 0)} connections"
        )
    admissions = Admissions(
        most=most,
        most_per_address=settings.server.max_connections_per_address,
        block_of=node.origins.counted_peer,
        is_proxy=node.origins.may_be_proxy,
        on_refused=metrics.connection_refused,
    )
    metrics.on_scrape(lambda: metrics.connections(len(admissions), most))
    metrics.on_scrape(lambda: metrics.open_files(open_files.count_open(), files))
    return admissions


class Signals:
    """SIGTERM and SIGINT: the first sets `end`, any further one `hurry`."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.hurry = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._take)

    def _take(self) -> None:
        (self.hurry if self.end.is_set() else self.end).set()


def _calm_garbage_collector() -> None:
    """Look for cycles less often, and never among what is there from the start.

    By default that is done after every 700 new objects, which a busy node makes with
    each few messages: it took a tenth of the time of all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _listen(runner: web.AppRunner, server: ServerSettings) -> web.TCPSite:
    site = await _start(runner, server.host, server.port)
    port = runner.addresses[0][1]  # another than the setting where that is 0
    structlog.get_logger(__name__).info("serving", host=server.host, port=port)
    return site


async def _start(runner: web.AppRunner, host: str, port: int) -> web.TCPSite:
    site = web.TCPSite(runner, host, port, backlog=BACKLOG)
    try:
        await site.start()
    except OSError as error:
        why = (error.strerror or str(error)).rpartition(": ")[2]
        raise StartError(f"cannot listen on {host}:{port}: {why}") from error
    limit_kernel(site)
    return site


async def _drain(node: Node, site: web.TCPSite, hurry: asyncio.Event) -> None:
    """End all that clients wait for; the sockets first, while requests are still answered.

    aiohttp's own clean-up comes after it: that closes idle connections at once, and
    hears nothing more of what arrives on any.
    """
    server, clock = node.settings.server, asyncio.get_running_loop()
    structlog.get_logger(__name__).info("draining")
    node.readiness.drain()
    await _until(hurry, asyncio.sleep(server.drain_delay))
    await site.stop()
    deadline = clock.time() + server.shutdown_grace
    spread = min(server.drain_spread, server.shutdown_grace / 2)
    await _until(hurry, node.sockets.release(spread))
    await node.sockets.drain(deadline - clock.time())


async def _until(hurry: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, or until `hurry` is set: then it is cancelled."""
    task, hurried = asyncio.create_task(work), asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait([task, hurried], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        hurried.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _set_deadline(server: ServerSettings) -> None:
    """End the process when the time for an orderly end is over, whatever hangs.

    A thread does it, because it may be the loop that hangs, or what Python waits for
    after it: nobody cancels it, and with the process it ends.
    """
    seconds = server.drain_delay + server.shutdown_grace + RESERVE
    timer = threading.Timer(seconds, _give_up)
    timer.daemon = True
    timer.start()


def _give_up() -> None:
    structlog.get_logger(__name__).error("shutdown_incomplete")
    os._exit(0)
