"""Time and tasks, as an event loop has them: an argument, so that a test can bring its own."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of `asyncio.AbstractEventLoop` that the protocol needs."""

    def time(self) -> float:
        """Seconds since any moment; never goes back."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Timer: ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer: ...

    def create_task(self, coro: Coroutine[Any, Any, None]) -> Any: ...
