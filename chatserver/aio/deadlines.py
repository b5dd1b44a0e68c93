"""Deadlines that cost next to nothing: one timer for all that run, not one for each."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Run:
    """One `Deadlines.run`: its task, how often that had been cancelled, and when it is over."""

    __slots__ = ("cancels", "ends_at", "is_over", "task")

    def __init__(self, task: asyncio.Task[Any], ends_at: float) -> None:
        self.task = task
        self.cancels = task.cancelling()
        self.ends_at = ends_at
        self.is_over = False


class Deadlines(Generic[T]):
    """Ends what takes longer than `seconds`, like `asyncio.timeout` with the same time for all.

    Since the time is the same, what began first ends first: the timer waits for the
    oldest, and by then that has nearly always ended by itself.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._runs: dict[_Run, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Its result. Raises TimeoutError when it was cancelled because of its time."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        run = _Run(task, loop.time() + self._seconds)
        self._runs[run] = None
        if self._timer is None:
            self._timer = loop.call_at(run.ends_at, self._end_oldest)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if run.is_over and task.uncancel() <= run.cancels:
                raise TimeoutError from None
            raise
        finally:
            del self._runs[run]

    def _end_oldest(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        for run in self._runs:
            if run.ends_at > now:
                self._timer = loop.call_at(run.ends_at, self._end_oldest)
                break
            if not run.is_over:
                run.is_over = True
                run.task.cancel()
