"""Claims to tell of a change whose answer does not reach the node that made them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from chatserver.backplane.lease_scripts import CLAIM
from chatserver.backplane.redis_calls import RedisAway, RedisCalls, Script
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.leases import ONE, TWO, running_nodes, told
from tests.kit.patient import PATIENT

LONG = 60.0
"""How long a claim lasts: no test waits for its end."""

SOON = 0.1


class FailingClaims(RedisCalls):
    """The next claims fail as `failures` says, one each: "unheard", where Redis makes the
    claim and its answer is lost, or "late", where it has not come to Redis yet."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client, timeout=PATIENT)
        self.failures: list[str] = []
        self._late: list[tuple[Script, Sequence[str], Sequence[Any]]] = []

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if script is not CLAIM or not self.failures:
            return await super().run(script, keys, args)
        if self.failures.pop(0) == "late":
            self._late.append((script, keys, args))
        else:
            await super().run(script, keys, args)
        raise RedisAway

    async def arrive(self) -> None:
        """What was late comes to Redis now."""
        for each in self._late:
            await super().run(*each)


@dataclass
class Survivors:
    """Two nodes, and how the claims of `one` fare."""

    one: RedisLeases
    two: RedisLeases
    claims: FailingClaims

    async def told(self) -> list[UUID]:
        return [*await told(self.one), *await told(self.two)]


@pytest.fixture
async def survivors(redis_server: EmbeddedRedis, redis_prefix: str) -> AsyncIterator[Survivors]:
    """A third node has died, with the user ONE, whose lease has run out."""
    async with running_nodes(redis_server, redis_prefix, PATIENT, claim_ttl=LONG) as nodes:
        dead, one, two = (nodes.new() for _ in range(3))
        await dead.acquire(ONE, "a", SOON)
        await dead.settle([ONE])
        claims = one._calls = FailingClaims(nodes.client)
        await asyncio.sleep(2 * SOON)
        yield Survivors(one, two, claims)


@pytest.mark.parametrize(
    "failures", [["unheard"], ["unheard", "unheard", "unheard"], ["unheard", "late"]]
)
async def test_a_claim_that_the_node_has_not_heard_of_is_its_own_at_the_next_try(
    survivors: Survivors, failures: list[str]
) -> None:
    survivors.claims.failures = [*failures]
    for _ in failures:
        assert await survivors.one.expire() == []
        assert await survivors.two.expire() == [], "it is claimed"
    assert await told(survivors.one) == [ONE]
    assert await survivors.told() == []


async def test_what_a_node_has_in_hand_it_is_not_handed_again(survivors: Survivors) -> None:
    assert await survivors.one.expire() == [ONE]
    survivors.claims.failures = ["late"]
    assert await survivors.one.expire() == []
    assert await survivors.one.expire() == []
    await survivors.one.settle([ONE])
    assert await survivors.told() == []


async def test_what_was_told_meanwhile_is_not_handed_out_again(survivors: Survivors) -> None:
    survivors.claims.failures = ["unheard"]
    assert await survivors.one.expire() == []
    await survivors.two.acquire(ONE, "b", SOON)  # They are back, and have gone again.
    await survivors.two.settle([ONE])
    await asyncio.sleep(2 * SOON)
    assert await told(survivors.two) == [ONE]
    assert await survivors.told() == []


async def test_a_claim_that_comes_late_takes_nothing_away(survivors: Survivors) -> None:
    survivors.claims.failures = ["late"]
    assert await survivors.one.expire() == []
    assert await survivors.one.expire() == [ONE]
    await survivors.two.acquire(TWO, "b", SOON)
    await survivors.two.settle([TWO])
    await asyncio.sleep(2 * SOON)
    await survivors.claims.arrive()
    await survivors.one.settle([ONE])
    assert await survivors.told() == [TWO]
    assert await survivors.told() == []
