"""Ending tasks, also those that do not hear it the first time."""

import asyncio
import time
from contextlib import suppress

import pytest

from chatserver.aio import tasks
from chatserver.aio.tasks import end, measure_lag
from tests.kit.stalls import PATIENCE


async def test_what_keeps_the_loop_busy_is_measured_as_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "LAG_INTERVAL", 0.01)
    seen: list[float] = []
    task = asyncio.create_task(measure_lag(seen.append))
    while not seen:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    before = len(seen)
    time.sleep(0.3)  # noqa: ASYNC251
    while len(seen) == before:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert seen[before] > 0.25
    await end(task)


async def test_tasks_have_ended_when_it_returns() -> None:
    tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(2)]
    await end(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_has_ended_or_fails_at_its_end_is_no_matter() -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError

    ended, failing = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())
    await asyncio.sleep(0.01)
    await end(ended, failing)
    assert isinstance(failing.exception(), ValueError)
    await end()


async def test_a_task_that_has_lost_its_cancellation_is_cancelled_again() -> None:
    async def works_on() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await asyncio.sleep(60)

    task = asyncio.create_task(works_on())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await end(task)
    assert task.cancelled()
