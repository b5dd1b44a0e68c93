"""A test begins again after a stall, and only then."""

import time

import pytest

from tests.kit.stalls import ATTEMPTS, again_after_a_stall


@pytest.mark.parametrize(("stall", "attempts"), [(0.0, 1), (0.2, ATTEMPTS)])
async def test_it_fails_at_once_or_after_every_attempt(stall: float, attempts: int) -> None:
    begun = 0

    @again_after_a_stall()
    async def test() -> None:
        nonlocal begun
        begun += 1
        time.sleep(stall)  # noqa: ASYNC251
        raise AssertionError("it fails")

    with pytest.raises(AssertionError, match="it fails"):
        await test()
    assert begun == attempts


async def test_what_passes_the_second_time_has_passed() -> None:
    begun = 0

    @again_after_a_stall()
    async def test() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            time.sleep(0.2)  # noqa: ASYNC251
            pytest.fail("too late")

    await test()
    assert begun == 2
