"""Machines that stand still: what tests of short times do about them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest

STANDSTILL = 3.0
"""Seconds for which a busy machine may give a process nothing to run on. A bound that is
promised has them on top, a window in which a test has to do something is longer."""

ATTEMPTS = 5

Scenario = Callable[..., Coroutine[Any, Any, None]]


class Pace:
    """`latest` is by how many seconds the loop came too late, at its worst."""

    def __init__(self) -> None:
        self.latest = 0.0

    async def watch(self) -> None:
        clock = asyncio.get_running_loop()
        while True:
            due = clock.time() + 0.01
            await asyncio.sleep(0.01)
            self.latest = max(self.latest, clock.time() - due)


@asynccontextmanager
async def watched() -> AsyncIterator[Pace]:
    pace = Pace()
    watching = asyncio.create_task(pace.watch())
    try:
        yield pace
    finally:
        watching.cancel()


def undisturbed(longest: float) -> Callable[[Scenario], Scenario]:
    """A test with times so short that it proves nothing when its loop stands still meanwhile.

    If it fails and the loop was late by `longest` seconds or more, it is tried again. For
    tests that live in one loop, and whose fixtures do not mind.
    """

    def decorate(scenario: Scenario) -> Scenario:
        @wraps(scenario)
        async def test(**fixtures: Any) -> None:
            for attempts_left in reversed(range(ATTEMPTS)):
                async with watched() as pace:
                    try:
                        return await scenario(**fixtures)
                    except (Exception, pytest.fail.Exception):
                        await asyncio.sleep(0.03)  # the watch may be as late as the test was
                        if not attempts_left or pace.latest < longest:
                            raise
            return None

        return test

    return decorate
