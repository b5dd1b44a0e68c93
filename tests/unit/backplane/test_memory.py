"""The memory backplane: leases that end by themselves, and a window that slides."""

import time
from uuid import UUID, uuid4

import pytest

from chatserver.backplane.leases import TooManyLeases
from chatserver.backplane.memory import PresenceLeases, RateLimits

ONE, TWO = UUID(int=1), UUID(int=2)


class Clock:
    """Stands in for the machine's: a test need not wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


# Leases


async def test_only_the_first_lease_brings_a_user_online(clock: Clock) -> None:
    leases = PresenceLeases()
    assert await leases.acquire(ONE, "a", 10)
    assert not await leases.acquire(ONE, "b", 10)
    assert not await leases.acquire(ONE, "a", 10)
    assert await leases.acquire(TWO, "a", 10)
    assert await leases.online([ONE, TWO, uuid4()]) == {ONE, TWO}


async def test_a_user_is_online_until_the_last_lease_ends(clock: Clock) -> None:
    leases = PresenceLeases()
    await leases.acquire(ONE, "a", 10)
    await leases.acquire(ONE, "b", 20)
    clock.now += 10
    assert await leases.expire() == []
    assert await leases.online([ONE]) == {ONE}
    clock.now += 10
    assert await leases.expire() == [ONE]
    assert await leases.expire() == []
    assert await leases.online([ONE]) == set()
    assert await leases.acquire(ONE, "c", 10)


async def test_renewing_prolongs_and_brings_back_what_has_ended(clock: Clock) -> None:
    leases = PresenceLeases()
    await leases.acquire(ONE, "a", 10)
    clock.now += 9
    await leases.renew([(ONE, "a")], 10)
    clock.now += 9
    assert await leases.expire() == []
    clock.now += 1
    assert await leases.expire() == [ONE]
    await leases.renew([(ONE, "a")], 10)
    assert await leases.online([ONE, TWO]) == {ONE}
    assert await leases.expire() == [ONE], "to be told that they are back"
    assert await leases.expire() == []
    await leases.settle([ONE])


async def test_no_more_leases_than_the_cap_are_given_out(clock: Clock) -> None:
    leases = PresenceLeases()
    for socket_id in ("a", "b"):
        await leases.acquire(ONE, socket_id, 10, cap=2)
    with pytest.raises(TooManyLeases):
        await leases.acquire(ONE, "c", 10, cap=2)
    assert await leases.acquire(TWO, "c", 10, cap=2)
    await leases.shorten(ONE, "a", 2)
    assert not await leases.acquire(ONE, "c", 10, cap=2), "in its grace it does not count"
    with pytest.raises(TooManyLeases):
        await leases.acquire(ONE, "d", 10, cap=2)
    assert set(leases.list_open()) == {(ONE, "b"), (ONE, "c"), (TWO, "c")}


async def test_shortening_leaves_a_grace_in_which_another_may_come(clock: Clock) -> None:
    leases = PresenceLeases()
    await leases.acquire(ONE, "a", 10)
    await leases.shorten(ONE, "a", 2)
    await leases.shorten(TWO, "a", 2)
    clock.now += 1.9
    assert await leases.expire() == []
    assert not await leases.acquire(ONE, "b", 10)
    clock.now += 5
    assert await leases.expire() == []
    await leases.shorten(ONE, "b", 0)
    assert await leases.expire() == [ONE]


async def test_what_has_ended_is_not_kept(clock: Clock) -> None:
    leases = PresenceLeases()
    for number in range(50):
        await leases.acquire(uuid4(), str(number), 10)
    for _ in range(20):
        clock.now += 1
        await leases.expire()
    assert (leases._leases, leases._ends) == ({}, [])


# Limits


async def test_a_window_slides_with_each_hit(clock: Clock) -> None:
    limits = RateLimits("3/minute")
    for _ in range(3):
        assert await limits.hit(ONE) is None
        clock.now += 10
    assert await limits.hit(ONE) == pytest.approx(30)
    assert await limits.hit(TWO) is None
    clock.now += 30
    assert await limits.hit(ONE) is None
    assert await limits.hit(ONE) == pytest.approx(10)


async def test_never_more_than_the_limit_in_any_window(clock: Clock) -> None:
    limits = RateLimits("5/second")
    taken: list[float] = []
    for _ in range(400):
        clock.now += 0.013
        if await limits.hit(ONE) is None:
            taken.append(clock.now)
    assert len(taken) > 20
    assert all(later - earlier >= 1 for earlier, later in zip(taken, taken[5:], strict=False))


async def test_what_is_refused_does_not_count(clock: Clock) -> None:
    limits = RateLimits("1/second")
    await limits.hit(ONE)
    for _ in range(9):
        clock.now += 0.1
        assert await limits.hit(ONE) is not None
    clock.now += 0.11
    assert await limits.hit(ONE) is None


async def test_without_a_limit_nothing_is_counted() -> None:
    limits = RateLimits("")
    for _ in range(1000):
        assert await limits.hit(ONE) is None
    assert not limits._hits


async def test_users_who_are_idle_are_forgotten(clock: Clock) -> None:
    limits = RateLimits("2/second")
    for _ in range(100):
        await limits.hit(uuid4())
        await limits.hit(ONE)
        clock.now += 0.6
    assert len(limits._hits) <= 3
