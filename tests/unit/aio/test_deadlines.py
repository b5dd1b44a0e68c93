"""Deadlines: what takes too long is cancelled, and nobody else is."""

import asyncio

import pytest

from chatserver.aio.deadlines import Deadlines

pytestmark = pytest.mark.virtual_time


async def answer(value: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return value


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_is_done_in_time_has_its_result() -> None:
    deadlines = Deadlines[int](30)
    assert await deadlines.run(answer(1, 0)) == 1


async def test_what_takes_too_long_is_cancelled_in_time() -> None:
    deadlines = Deadlines[int](5)
    began = now()
    with pytest.raises(TimeoutError):
        await deadlines.run(answer(1, 500))
    assert now() - began == pytest.approx(5, rel=0.1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await deadlines.run(answer(2, 0)) == 2


async def test_each_has_its_own_time() -> None:
    deadlines = Deadlines[int](20)

    async def one(seconds: float) -> int | str:
        try:
            return await deadlines.run(answer(1, seconds))
        except TimeoutError:
            return "late"

    first = asyncio.create_task(one(500))
    await asyncio.sleep(10)
    second, third = asyncio.create_task(one(15)), asyncio.create_task(one(500))
    began = now()
    assert await first == "late"
    assert not third.done()
    assert await second == 1
    assert await third == "late"
    assert now() - began == pytest.approx(20, rel=0.1)


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines[int](60)
    task = asyncio.create_task(deadlines.run(answer(1, 60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_at_the_same_time_wins() -> None:
    """Both come in one turn of the loop."""
    deadlines = Deadlines[int](5)
    task = asyncio.create_task(deadlines.run(answer(1, 500)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(5, task.cancel)
    with pytest.raises((asyncio.CancelledError, TimeoutError)) as raised:
        await task
    assert raised.type is asyncio.CancelledError


async def test_an_error_passes_through() -> None:
    async def fail() -> int:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await Deadlines[int](30).run(fail())


async def test_a_handler_that_swallows_its_cancellation_is_not_cancelled_again() -> None:
    deadlines = Deadlines[int](5)
    cancels = 0

    async def stubborn() -> int:
        nonlocal cancels
        for _ in range(2):
            try:
                await asyncio.sleep(15)
            except asyncio.CancelledError:
                cancels += 1
        return cancels

    other = asyncio.create_task(deadlines.run(answer(1, 1)))
    assert await deadlines.run(stubborn()) == 1
    assert await other == 1
