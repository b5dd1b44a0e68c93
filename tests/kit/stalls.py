"""Tests of short times, on machines that stand still now and then."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

STALL = 0.1
"""Seconds for which the loop did not run although it was to: what is asserted of times that
short says nothing then."""

ATTEMPTS = 5

Test = Callable[..., Coroutine[Any, Any, None]]


def again_after_a_stall(test: Test) -> Test:
    """A test that fails while its loop stands still begins again; it has made all it needs.

    One that fails while the loop runs has failed.
    """

    @functools.wraps(test)
    async def steady(*args: Any, **kwargs: Any) -> None:
        for _ in range(ATTEMPTS - 1):
            watch = _Watch()
            try:
                return await test(*args, **kwargs)
            except (Exception, asyncio.CancelledError):
                if not watch.has_stalled() or _is_cancelled():
                    raise
            finally:
                watch.close()
        return await test(*args, **kwargs)

    return steady


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Watch:
    """Whether the loop was late for anything since."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._latest = 0.0
        self._begin()

    def has_stalled(self) -> bool:
        """Now is counted, too: the test may have heard of it first."""
        return max(self._latest, self._loop.time() - self._due) > STALL

    def close(self) -> None:
        self._handle.cancel()

    def _begin(self) -> None:
        self._due = self._loop.time() + STALL / 5
        self._handle = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._latest = max(self._latest, self._loop.time() - self._due)
        self._begin()
