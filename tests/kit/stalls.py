"""Machines that stand still now and then: what tests of short times do about it."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

STANDSTILL = 3.0
"""Seconds for which a busy machine may give a process nothing to run on. A bound that is
promised has them on top; a window in which a test has to do something is longer."""

PATIENCE = 60.0
"""Seconds after which a test takes what it waits for for lost: nothing but a hang lasts so
long, however busy the machine."""

BRIEF = 0.1
ATTEMPTS = 5

Test = Callable[..., Coroutine[Any, Any, None]]


def again_after_a_stall(seconds: float = BRIEF) -> Callable[[Test], Test]:
    """A test that fails while its loop stands still begins again; it has made all it needs.

    It stands still when it was late for anything by more than `seconds`: what a test
    says of times that short is worth nothing then. One that fails while the loop runs
    has failed.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def steady(*args: Any, **kwargs: Any) -> None:
            for _ in range(ATTEMPTS - 1):
                watch = _Watch()
                try:
                    return await test(*args, **kwargs)
                except (Exception, asyncio.CancelledError, pytest.fail.Exception):
                    if watch.latest <= seconds or _is_cancelled():
                        raise
                finally:
                    watch.close()
            return await test(*args, **kwargs)

        return steady

    return decorate


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Watch:
    """How late the loop was for anything since, at the most."""

    INTERVAL = 0.01

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._latest = 0.0
        self._begin()

    @property
    def latest(self) -> float:
        """In seconds. Now is counted, too: the test may have heard of it first."""
        return max(self._latest, self._loop.time() - self._due)

    def close(self) -> None:
        self._handle.cancel()

    def _begin(self) -> None:
        self._due = self._loop.time() + self.INTERVAL
        self._handle = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._latest = self.latest
        self._begin()
