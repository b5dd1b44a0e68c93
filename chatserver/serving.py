"""Running a node as a process: from the first socket to the last after SIGTERM."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web

from chatserver.app import Node, StartError, create_node
from chatserver.connections import ConnectionRunner
from chatserver.settings import ServerSettings, Settings

KEEPALIVE: Final = 75.0
"""Longer than a load balancer keeps its connections, so that it is not we who close."""

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: all clients of a node that fell may come at once."""

LINGERING: Final = 1.5
"""How long the rest of a body that was refused is still read, so that the answer arrives."""

RESERVE: Final = 3.0
"""On top of the grace: for closing what is open."""


async def serve(settings: Settings, on_ready: Callable[[], None] | None = None) -> None:
    """Serve one node until SIGTERM or SIGINT, then end in order.

    Raises StartError, also when the port is taken. The end: /readyz fails, after
    `drain_delay` nothing new is accepted, what is in flight is answered within
    `shutdown_grace`, the sockets are closed so that their clients reconnect by
    themselves. Whatever hangs then is left behind: the process ends all the same.
    """
    node = await create_node(settings)
    runner = ConnectionRunner(
        node.app,
        handle_signals=False,
        shutdown_timeout=settings.server.shutdown_grace,
        connection_options={
            "request_timeout": settings.server.request_timeout,
            "access_log": None,
            "keepalive_timeout": KEEPALIVE,
            "lingering_time": LINGERING,
        },
    )
    await runner.setup()
    try:
        site = await _listen(runner, settings.server)
        if on_ready is not None:
            on_ready()
        await _wait_for_signal()
        await _drain(node, site)
    finally:
        await _end(runner, settings)
    structlog.get_logger(__name__).info("stopped")


async def _listen(runner: web.AppRunner, server: ServerSettings) -> web.TCPSite:
    site = web.TCPSite(runner, server.host, server.port, backlog=BACKLOG)
    try:
        await site.start()
    except OSError as error:
        why = (error.strerror or str(error)).rpartition(": ")[2]
        raise StartError(f"cannot listen on {server.host}:{server.port}: {why}") from error
    port = runner.addresses[0][1]  # another than the setting where that is 0
    structlog.get_logger(__name__).info("serving", host=server.host, port=port)
    return site


async def _wait_for_signal() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def _drain(node: Node, site: web.TCPSite) -> None:
    structlog.get_logger(__name__).info("draining")
    node.readiness.draining = True
    await asyncio.sleep(node.settings.server.drain_delay)
    await site.stop()


async def _end(runner: web.AppRunner, settings: Settings) -> None:
    try:
        async with asyncio.timeout(settings.server.shutdown_grace + RESERVE):
            await runner.cleanup()
    except TimeoutError:
        structlog.get_logger(__name__).error("shutdown_incomplete")
        os._exit(0)
