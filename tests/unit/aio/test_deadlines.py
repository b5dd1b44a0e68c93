"""Deadlines: what takes too long is cancelled, and nobody else is."""

import asyncio
import time

import pytest

from chatserver.aio.deadlines import Deadlines
from tests.kit.stalls import again_after_a_stall

LATE = 0.02
"""Seconds; the times here are too short for a machine that is so late."""


async def answer(value: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return value


async def test_what_is_done_in_time_has_its_result() -> None:
    deadlines = Deadlines[int](30)
    assert await deadlines.run(answer(1, 0)) == 1


@again_after_a_stall(LATE)
async def test_what_takes_too_long_is_cancelled_in_time() -> None:
    deadlines = Deadlines[int](0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await deadlines.run(answer(1, 5))
    assert 0.04 < time.monotonic() - began < 1
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await deadlines.run(answer(2, 0)) == 2


@again_after_a_stall(LATE)
async def test_each_has_its_own_time() -> None:
    deadlines = Deadlines[int](0.2)

    async def one(seconds: float) -> int | str:
        try:
            return await deadlines.run(answer(1, seconds))
        except TimeoutError:
            return "late"

    first = asyncio.create_task(one(5))
    await asyncio.sleep(0.1)
    second, third = asyncio.create_task(one(0.15)), asyncio.create_task(one(5))
    began = time.monotonic()
    assert await first == "late"
    assert not third.done()
    assert await second == 1
    assert await third == "late"
    assert time.monotonic() - began > 0.15


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines[int](60)
    task = asyncio.create_task(deadlines.run(answer(1, 60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@again_after_a_stall(LATE)
async def test_a_cancellation_from_outside_at_the_same_time_wins() -> None:
    deadlines = Deadlines[int](0.05)
    task = asyncio.create_task(deadlines.run(answer(1, 5)))
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.04, task.cancel)
    time.sleep(0.1)  # noqa: ASYNC251
    with pytest.raises((asyncio.CancelledError, TimeoutError)) as raised:
        await task
    assert raised.type is asyncio.CancelledError


async def test_an_error_passes_through() -> None:
    async def fail() -> int:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await Deadlines[int](30).run(fail())


@again_after_a_stall(LATE)
async def test_a_handler_that_swallows_its_cancellation_is_not_cancelled_again() -> None:
    deadlines = Deadlines[int](0.05)
    cancels = 0

    async def stubborn() -> int:
        nonlocal cancels
        for _ in range(2):
            try:
                await asyncio.sleep(0.15)
            except asyncio.CancelledError:
                cancels += 1
        return cancels

    other = asyncio.create_task(deadlines.run(answer(1, 0.01)))
    assert await deadlines.run(stubborn()) == 1
    assert await other == 1
