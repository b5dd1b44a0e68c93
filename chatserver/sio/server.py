"""The Socket.IO server: clients of the namespace "/", their handlers, and how they end.

What it serves is an `Application`. A running method of it is not cancelled because its
client goes; deadlines are its own.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from chatserver.eio.clock import Clock
from chatserver.eio.handshakes import Environ
from chatserver.eio.observers import Observer
from chatserver.eio.protocol import TRY_AGAIN_LATER, Limits, Reason
from chatserver.eio.server import Edge, EngineServer
from chatserver.eio.session import EngineSocket
from chatserver.sio.adapter import Adapter
from chatserver.sio.client import LINGER, Client
from chatserver.sio.drain import FLUSH_GRACE, depart
from chatserver.sio.host import Answers, Application

log = logging.getLogger(__name__)

# What `drain` keeps of its grace for the disconnect handlers, at most: seconds, share.
_DISCONNECT_RESERVE: Final = 2.0
_DISCONNECT_SHARE: Final = 0.3
_SHUTDOWN_GRACE: Final = 1.0  # how long `shutdown` takes at most, in seconds


class SocketLimits(Limits, Protocol):
    """The settings of a Socket.IO server."""

    @property
    def max_pending_events(self) -> int:
        """Number of events of one client that may wait before no more is read from it."""


class SocketServer:
    """Socket.IO 5 for the namespace "/" on one node, with an `EngineServer` below.

    `application` has to be set before the first request.
    """

    application: Application[Client]

    def __init__(
        self,
        limits: SocketLimits,
        edge: Edge,
        answers: Answers,
        *,
        adapter: Adapter | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.connect_timeout = limits.connect_timeout
        self.linger = min(LINGER, limits.connect_timeout)
        self.max_queue_bytes = limits.max_queue_bytes
        self.max_pending_events = limits.max_pending_events
        self.max_pending_bytes = 2 * limits.max_packet_bytes
        self.answers = answers
        self.adapter = adapter or Adapter()
        self.engine = EngineServer(limits, edge, self._open_client, observer, clock)
        self.clock = self.engine.clock
        self.observer = self.engine.observer
        self.generate_id = self.engine.generate_id
        self._workers: set[asyncio.Task[None]] = set()
        self._is_over = False

    def _open_client(self, socket: EngineSocket, environ: Environ) -> Client:
        return Client(self, socket, environ)

    def disconnect(self, sid: str) -> None:
        """End a client's session for good: it is told and does not reconnect.

        Nothing happens for one that has gone.
        """
        if (client := self.adapter.get_client(sid)) is not None:
            client.disconnect(Reason.SERVER_DISCONNECT)

    def turn_away(self, sid: str) -> None:
        """Close a client's connection; it may come back, later, by itself."""
        if (client := self.adapter.get_client(sid)) is not None:
            client.socket.close(Reason.SERVER_DISCONNECT, TRY_AGAIN_LATER)

    # The application, called by clients

    async def run_connect(
        self, client: Client, auth: dict[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Return what to refuse the client with; None to accept it. A failing handler refuses."""
        try:
            return await self.application.connect(client, auth)
        except (Exception, asyncio.CancelledError) as error:
            self.log_failure(client, "connect", error)
            return self.answers.refusal(error)

    async def run_event(self, client: Client, event: str, args: list[Any]) -> Sequence[Any] | None:
        """The acknowledgement of an event; a failing handler's is an error.

        A cancellation (by `drain`, or leaked by the handler) ends the handler only:
        what is queued behind it still runs.
        """
        try:
            return await self.application.handle(client, event, args)
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, asyncio.CancelledError):
                self.log_failure(client, event[:64], error)
            return [self.answers.ack(error)]

    async def run_disconnect(self, client: Client, reason: str) -> None:
        try:
            await self.application.disconnect(client, reason)
        except Exception as error:
            self.log_failure(client, "disconnect", error)

    def add_client(self, client: Client) -> None:
        self.adapter.add_client(client)

    def remove_from_rooms(self, client: Client) -> None:
        self.adapter.remove_from_rooms(client)

    def forget_client(self, client: Client) -> None:
        """Let go of a client; may be called again."""
        self.adapter.forget_client(client)
        if client.sid:
            self.application.forget(client)

    def log_failure(self, client: Client, handler: str, error: BaseException) -> None:
        self.observer.error("handler")
        log.error("handler_failed", exc_info=error, extra={"handler": handler, "sid": client.sid})

    def spawn(
        self, work: Coroutine[Any, Any, None], on_done: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Run a client's queue; kept until it is done, and waited for by `drain`."""

        def finish(task: asyncio.Task[None]) -> None:
            self._workers.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("event_queue_failed", exc_info=error)
            if not self._is_over:
                on_done()

        task = self.clock.create_task(work)
        self._workers.add(task)
        task.add_done_callback(finish)
        return task

    # The end

    async def release(self, seconds: float) -> None:
        """Refuse handshakes (503), and have clients leave over `seconds` (see `depart`).

        `drain` has to follow, and ends what is left of them.
        """
        self.engine.is_draining = True
        await depart(self.engine.sockets.values(), seconds, self.clock)

    async def drain(self, grace: float) -> None:
        """End everything within `grace` seconds, losing as little as possible.

        In this order: no new handshakes (503) and no new events; events that had
        arrived are handled and acknowledged; what is queued for clients is sent; the
        connections are closed so that clients reconnect by themselves (websockets
        with 1012); disconnect handlers run. A handler that is still running when
        most of the grace is over is cancelled. Once it is done, it is done.
        """
        if self._is_over:
            return
        deadline = self.clock.time() + grace
        handlers_until = deadline - min(_DISCONNECT_RESERVE, grace * _DISCONNECT_SHARE)
        self.engine.stop_receiving()
        await self._wait_workers(handlers_until)
        await self._wait_queues(min(handlers_until, self.clock.time() + FLUSH_GRACE))
        for client in self.adapter.list_clients():
            client.cancel_handler()
        self.engine.close_all()
        await self._wait_workers(deadline)
        await self._abandon()

    async def shutdown(self) -> None:
        """`drain` for those in a hurry: done in about a second, whatever handlers do."""
        await self.drain(_SHUTDOWN_GRACE)

    async def _wait_workers(self, until: float) -> None:
        while self._workers and (remaining := until - self.clock.time()) > 0:
            await asyncio.wait(self._workers, timeout=remaining)

    async def _wait_queues(self, until: float) -> None:
        """Wait until clients have taken what is queued for them."""
        while self.clock.time() < until and any(  # noqa: ASYNC110
            socket.queued_bytes for socket in self.engine.sockets.values()
        ):
            await asyncio.sleep(0.02)  # transports tell nobody when they are empty

    async def _abandon(self) -> None:
        """Cancel what has not ended in time and forget everyone."""
        self._is_over = True
        abandoned = list(self._workers)
        for task in abandoned:
            task.cancel()
        if abandoned:
            log.warning("handlers_abandoned", extra={"count": len(abandoned)})
            await asyncio.wait(abandoned, timeout=0.2)
        for client in self.adapter.list_clients():
            self.forget_client(client)
