"""Tasks in the background, and how they are made to end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import structlog

AGAIN: Final = 1.0
"""Seconds after which a task that has not ended is cancelled once more."""

LAG_INTERVAL: Final = 0.25
"""Seconds between two looks at how late the event loop is."""


async def measure_lag(observe: Callable[[float], None]) -> NoReturn:
    """Tell `observe` again and again by how many seconds the event loop was late for a timer."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        observe(max(loop.time() - due, 0.0))


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until all have ended, however.

    A cancellation can get lost in what a task waits for: before Python 3.12
    `asyncio.wait_for` drops one that comes in the moment in which it has its result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)


async def repeat(interval: float, action: Callable[[], Awaitable[object]]) -> None:
    """Run `action` now and every `interval` seconds; a failure is logged, and it goes on."""
    log = structlog.get_logger(__name__)
    while True:
        try:
            await action()
        except Exception:
            log.exception("background_task_failed", task=getattr(action, "__qualname__", ""))
        await asyncio.sleep(interval)
