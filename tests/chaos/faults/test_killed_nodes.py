"""Fault 1: kill -9 a node at the worst moments of a send."""

import asyncio

import pytest

from tests.chaos.faults.load_generator import LoadGenerator, Send, slowest
from tests.chaos.faults.records import ENOUGH, Figure, linger, record
from tests.chaos.faults.sites import Site, until
from tests.kit.services import connected, until_someone_waits

pytestmark = pytest.mark.asyncio(loop_scope="package")

BACK = 5.0
"""Seconds: who was thrown off is connected and in sync again."""

HEARD = 10.0
"""Seconds: what a node did not tell before it died is found by the others."""

SILENCE = 1.0
"""Seconds after which what other nodes acknowledge has arrived, on a busy machine too."""


def unanswered(load: LoadGenerator) -> set[str]:
    return {send.key for send in load.sends if send.acknowledged_at is None}


async def test_a_node_is_killed_before_the_commit(site: Site, load: LoadGenerator) -> None:
    """Every send waits for a lock; what the dead node had begun may still commit later."""
    await linger(0.5)
    async with connected(site.database_url) as connection:
        await connection.execute("BEGIN; LOCK TABLE chat.messages IN SHARE MODE")
        with load.window() as window:
            await until_someone_waits(connection, how_many=3)
            await asyncio.sleep(0.7)
            waiting = unanswered(load)
            site.nodes[0].kill()
            assert waiting.isdisjoint(await load.stored_keys())
            await asyncio.sleep(0.3)
            await connection.execute("ROLLBACK")
            await load.level()
            await load.until_enough(window)
    await heal(site, load)
    sends = load.overlapping(window)
    record(
        1,
        "kill -9 before COMMIT",
        sends,
        Figure("back and in sync", max(load.away(window)), BACK),
        Figure("longest send", slowest(sends)),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )


async def test_a_node_is_killed_between_the_commit_and_the_acknowledgement(
    site: Site, load: LoadGenerator
) -> None:
    await linger(0.5)
    with load.window() as window:
        site.nodes[0].database.hold_answers()
        await until(lambda: has_committed(load))
        waiting = unanswered(load)
        site.nodes[0].kill()
        committed = waiting & await load.stored_keys() & unanswered(load)
        site.nodes[0].database.heal()
        await load.level()
        await load.until_enough(window)
    assert committed
    await heal(site, load)
    sends = load.overlapping(window)
    record(
        1,
        "kill -9 between COMMIT and acknowledgement",
        sends,
        Figure("stored but not acknowledged", len(committed), unit="sends"),
        Figure("back and in sync", max(load.away(window)), BACK),
        Figure("longest send", slowest(sends)),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )


async def test_a_node_is_killed_between_the_acknowledgement_and_the_publish(
    site: Site, load: LoadGenerator
) -> None:
    await linger(0.5)
    node = site.nodes[0]
    with load.window() as window:
        node.redis.blackhole()
        await asyncio.sleep(0.7)
        await until(lambda: has_acknowledged(load, window.began_at))
        node.kill()
        untold = acknowledged(load, window.began_at)
        node.redis.reset()  # or what it swallowed would arrive
        node.redis.heal()
        await load.level()
        await load.until_enough(window)
    await heal(site, load)
    sends = load.overlapping(window)
    record(
        1,
        "kill -9 between acknowledgement and publish",
        sends,
        Figure("back and in sync", max(load.away(window)), BACK),
        Figure("longest send", slowest(sends)),
        Figure("latest delivery", load.lateness(untold), HEARD),
    )
    assert load.lateness(untold) > 0.5, "nothing was lost"


async def has_committed(load: LoadGenerator) -> bool:
    """Whether something is stored of which the sender does not hear."""
    stored = await load.stored_keys()
    for _ in range(10):  # if all stands still, what has arrived meanwhile is read in between
        await asyncio.sleep(SILENCE / 10)
    return not stored.isdisjoint(unanswered(load))


async def has_acknowledged(load: LoadGenerator, since: float) -> bool:
    """So much that some of it was the one node's."""
    return len(acknowledged(load, since)) >= ENOUGH


def acknowledged(load: LoadGenerator, since: float) -> list[Send]:
    return [send for send in load.sends if since < send.ended_at < float("inf")]


async def heal(site: Site, load: LoadGenerator) -> None:
    """Everybody finishes, and the node comes back."""
    await load.settle()
    await site.nodes[0].restart()

    async def all_up() -> bool:
        return await site.cluster.balancer.states() == ["UP"] * 3

    await until(all_up)
