"""Interfaces between a client, its application and its server."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from chatserver.eio.clock import Clock
from chatserver.eio.observers import Observer

ClientT_contra = TypeVar("ClientT_contra", contravariant=True)


class Application(Protocol[ClientT_contra]):
    """Application that is served. For one client its methods run one at a time, in the
    order of events; only `acknowledge` does not wait."""

    async def connect(
        self, client: ClientT_contra, auth: dict[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """Accept the client by returning None, or refuse it by returning `{message, data?}`.

        The client may enter rooms here; what is emitted to them follows the answer.
        """

    async def handle(
        self, client: ClientT_contra, event: str, args: list[Any]
    ) -> Sequence[Any] | None:
        """The values of the acknowledgement of an event; None where it shall have none.

        `args` are the JSON values after the name, unchecked.
        """

    async def disconnect(self, client: ClientT_contra, reason: str) -> None:
        """Exactly once for each client that was accepted, after the handler of its last
        event; also when the server goes down."""

    def acknowledge(self, client: ClientT_contra, ack_id: int, values: list[Any]) -> bool:
        """Take what a client answers to an event; False where it was not asked."""

    def forget(self, client: ClientT_contra) -> None:
        """The last that is heard of a client, accepted or not; may be called again."""


class Answers(Protocol):
    """Error objects told to clients: the protocol has no words of its own for failures."""

    def ack(self, error: BaseException) -> Any:
        """The acknowledgement for what a handler raised, or an `EventRefused`."""

    def refusal(self, error: BaseException) -> Mapping[str, Any]:
        """Return what a CONNECT is refused with, as `{message, data?}`."""

    def unasked(self, values: Sequence[Any]) -> tuple[str, Any] | None:
        """The event by which a client that asked for no acknowledgement hears of one."""


class Host(Protocol[ClientT_contra]):
    """Interface of a client to its server."""

    answers: Answers
    clock: Clock
    connect_timeout: float
    linger: float
    max_pending_bytes: int
    max_pending_events: int
    max_queue_bytes: int

    @property
    def application(self) -> Application[ClientT_contra]: ...

    @property
    def observer(self) -> Observer: ...

    def generate_id(self) -> str: ...

    def add_client(self, client: ClientT_contra) -> None:
        """Let a client be found and enter rooms, from before it is connected."""

    def remove_from_rooms(self, client: ClientT_contra) -> None:
        """Deliver nothing more to a client."""

    def forget_client(self, client: ClientT_contra) -> None:
        """Let go of a client; may be called again."""

    async def run_connect(
        self, client: ClientT_contra, auth: dict[str, Any] | None
    ) -> Mapping[str, Any] | None: ...

    async def run_event(
        self, client: ClientT_contra, event: str, args: list[Any]
    ) -> Sequence[Any] | None: ...

    async def run_disconnect(self, client: ClientT_contra, reason: str) -> None: ...

    def log_failure(self, client: ClientT_contra, handler: str, error: BaseException) -> None: ...

    def spawn(
        self, work: Coroutine[Any, Any, None], on_done: Callable[[], None]
    ) -> "asyncio.Task[None]":
        """Run a client's queue."""
