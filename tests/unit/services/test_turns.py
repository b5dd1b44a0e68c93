"""Turns: nobody is worked for more than a few times at once, and nothing is kept of it."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from chatserver.errors import Unavailable
from chatserver.models import Principal, Role
from chatserver.services.turns import AT_ONCE, Turns


def principal(number: int = 1, role: Role = Role.CLIENT) -> Principal:
    return Principal(UUID(int=number), role, datetime.now(UTC))


class Work:
    """Something that many ask for and that does not end until it may."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.may_end = asyncio.Event()
        self.begun: list[int] = []
        self.ended = 0

    async def do(self, who: Principal, name: int = 0) -> None:
        async with self.turns.take(who):
            self.begun.append(name)
            await self.may_end.wait()
        self.ended += 1


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_few_at_once_in_the_order_in_which_they_came() -> None:
    work = Work()
    tasks = [asyncio.create_task(work.do(principal(), number)) for number in range(20)]
    other = asyncio.create_task(work.do(principal(2), 99))
    await settled()
    assert work.begun == [*range(AT_ONCE), 99]
    work.may_end.set()
    await asyncio.gather(other, *tasks)
    assert work.begun == [*range(AT_ONCE), 99, *range(AT_ONCE, 20)]
    assert len(work.turns) == 0


async def test_the_hosts_own_service_has_no_turns() -> None:
    work = Work()
    service = principal(1, Role.SERVICE)
    tasks = [asyncio.create_task(work.do(service)) for _ in range(20)]
    await settled()
    assert len(work.begun) == 20
    work.may_end.set()
    await asyncio.gather(*tasks)


async def test_who_gives_up_or_waits_too_long_leaves_nothing() -> None:
    work = Work()
    tasks = [asyncio.create_task(work.do(principal())) for _ in range(AT_ONCE + 5)]
    await settled()
    with pytest.raises(Unavailable) as refused:
        async with work.turns.take(principal(), patience=0.01):
            raise AssertionError("it was not its turn")
    assert refused.value.retry_after == 1.0
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    work.may_end.set()
    await tasks[0]
    assert len(work.turns) == 0
    async with work.turns.take(principal()):
        assert len(work.turns) == 1
