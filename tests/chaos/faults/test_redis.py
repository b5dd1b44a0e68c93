"""Faults 2 to 4: Redis restarts, hangs, or is partitioned from a node. Sends go on."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.faults.load_generator import LoadGenerator, Send, Window, p99
from tests.chaos.faults.records import ENOUGH, Figure, is_for_table, linger, record
from tests.chaos.faults.sites import Site, until

pytestmark = pytest.mark.asyncio(loop_scope="package")

SENT = 1.0
"""Seconds: 99 of 100 sends are acknowledged by then, whatever Redis does; or three times
what it takes in peace, where the machine is too busy for that."""

HEARD = 10.0
"""Seconds: what Redis did not carry is found by then."""

HEARS_AGAIN = 2.0
"""Seconds after Redis is back."""

LOST = "chat_backplane_lost_total"


def are(site: Site, *wanted: int) -> Callable[[], Awaitable[bool]]:
    """Whether /readyz of the nodes answers this."""

    async def check() -> bool:
        return await site.readiness() == list(wanted)

    return check


async def hear(site: Site) -> bool:
    """Whether all nodes hear themselves through Redis."""
    return all([await site.metric(node, "chat_backplane_up") == 1 for node in range(3)])


async def is_partitioned(site: Site) -> bool:
    """Whether the first node knows that it is; /readyz may fail for other reasons too."""
    return await site.metric(0, "chat_backplane_up") == 0


async def all_hear(site: Site) -> float:
    return await until(lambda: hear(site))


async def measure_calm(load: LoadGenerator) -> Window:
    """Nothing is broken yet."""
    with load.window() as calm:
        if is_for_table():
            await asyncio.sleep(0.5)
            await until(lambda: is_known(load, calm))
    return calm


def allowed(load: LoadGenerator, calm: Window) -> float:
    """The bound of the acknowledgement, by what was acknowledged before the fault began."""
    return max(SENT, 3 * p99(in_peace(load, calm)))


def in_peace(load: LoadGenerator, calm: Window) -> list[Send]:
    return [send for send in load.overlapping(calm) if send.ended_at < calm.ended_at]


async def is_known(load: LoadGenerator, calm: Window) -> bool:
    """Whether enough was acknowledged to say how long that takes."""
    return len(in_peace(load, calm)) >= ENOUGH / 2


async def test_sends_go_on_while_redis_restarts(site: Site, load: LoadGenerator) -> None:
    calm = await measure_calm(load)
    with load.window() as window:
        await asyncio.to_thread(site.redis.kill)
        await until(are(site, 503, 503, 503))
        await linger(1)
        await load.until_enough(window)
        await asyncio.to_thread(site.redis.start)
    back = await all_hear(site)
    level = await load.level()
    await load.settle()
    sends = load.overlapping(window)
    record(
        2,
        "Redis restarts",
        sends,
        Figure("p99 of the acknowledgement", p99(sends), allowed(load, calm)),
        Figure("latest delivery", load.lateness(sends), HEARD),
        Figure("subscribed again", back, HEARS_AGAIN),
        Figure("all level after", back + level, HEARD),
    )
    assert load.away(window) == [], "nobody lost the connection"


async def test_sends_go_on_while_redis_is_frozen(site: Site, load: LoadGenerator) -> None:
    calm = await measure_calm(load)
    with load.window() as window:
        site.redis.freeze()
        said = await until(are(site, 503, 503, 503))
        await until(lambda: is_partitioned(site))
        await linger(1)
        await load.until_enough(window)
        site.redis.thaw()
    back = await all_hear(site)
    await load.settle()
    sends = load.overlapping(window)
    record(
        3,
        "Redis frozen, for all nodes",
        sends,
        Figure("p99 of the acknowledgement", p99(sends), allowed(load, calm)),
        Figure("latest delivery", load.lateness(sends), HEARD),
        Figure("nodes say so after", said, 4.0),
        Figure("subscribed again", back, HEARS_AGAIN),
    )


async def test_sends_go_on_while_redis_is_blackholed_for_one_node(
    site: Site, load: LoadGenerator
) -> None:
    calm = await measure_calm(load)
    with load.window() as window:
        site.nodes[0].redis.blackhole()
        said = await until(are(site, 503, 200, 200))
        await until(lambda: is_partitioned(site))
        await linger(3)
        await load.until_enough(window)
    site.nodes[0].redis.heal()
    back = await all_hear(site)
    await load.settle()
    sends = load.overlapping(window)
    record(
        3,
        "Redis blackholed, for one node",
        sends,
        Figure("p99 of the acknowledgement", p99(sends), allowed(load, calm)),
        Figure("latest delivery", load.lateness(sends), HEARD),
        Figure("the node says so after", said, 4.0),
        Figure("subscribed again", back, HEARS_AGAIN),
    )


async def test_a_deaf_node_is_taken_out_until_it_hears(site: Site, load: LoadGenerator) -> None:
    """What it publishes arrives; it hears nothing, on no connection."""
    calm = await measure_calm(load)

    async def is_out() -> bool:
        return (await site.cluster.balancer.states())[0] == "DOWN"

    with load.window() as window:
        site.nodes[0].redis.hold_answers()
        said = await until(are(site, 503, 200, 200))
        out = said + await until(is_out)
        await linger(1)
        await load.until_enough(window)
    site.nodes[0].redis.heal()
    back = await until(are(site, 200, 200, 200))
    await load.settle()
    sends = load.overlapping(window)
    record(
        4,
        "a node's Redis listener is partitioned",
        sends,
        Figure("p99 of the acknowledgement", p99(sends), allowed(load, calm)),
        Figure("latest delivery", load.lateness(sends), HEARD),
        Figure("/readyz fails after", said, 4.0),
        Figure("HAProxy has it out after", out, 6.0),
        Figure("ready again", back, 3.0),
    )


async def test_a_deaf_connection_is_replaced_by_the_node_itself(
    site: Site, load: LoadGenerator
) -> None:
    """Nobody heals the connection on which nothing comes any more; a new one works."""
    node = site.nodes[0].redis
    calm = await measure_calm(load)
    before = await site.metric(0, LOST)

    async def has_noticed() -> bool:
        return await site.metric(0, LOST) > before

    with load.window() as window:
        node.hold_answers(of_new=False)
        healed = await until(has_noticed) + await all_hear(site)
        await load.until_enough(window)
    await load.settle()
    node.heal()
    sends = load.overlapping(window)
    record(
        4,
        "the listener's connection alone is partitioned",
        sends,
        Figure("p99 of the acknowledgement", p99(sends), allowed(load, calm)),
        Figure("latest delivery", load.lateness(sends), HEARD),
        Figure("healed by itself after", healed, 4.0),
    )
