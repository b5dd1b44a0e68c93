"""Fault 12: SIGTERM to a node, and all nodes restarted in turn, while people write."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from chatserver.services.readiness import FRESH
from tests.chaos.faults.load_generator import LoadGenerator, Send, Window, p99, quantile, slowest
from tests.chaos.faults.records import ENOUGH, Figure, is_for_table, linger, record
from tests.chaos.faults.sites import PATIENCE, Site, running_site, until
from tests.kit.cluster import ClusterNode
from tests.kit.postgres import Databases
from tests.kit.processes import EXIT_TIMEOUT
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="package")

DELAY = 2.0
SPREAD = 3.0 if is_for_table() else 1.0
DRAIN: dict[str, Any] = {"server__drain_delay": DELAY, "server__drain_spread": SPREAD}
"""In `make faults` as in production."""

BACK = 5.0
"""Seconds: 99 of 100 who were sent away are connected and in sync again."""

HELD = 1.4
"""Seconds; a send waits for 2 s for the database before it is refused."""

AT_ONCE = 1.0
"""Seconds."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with databases.migrated() as url, running_site(url, directory, **DRAIN) as running:
        yield running


@dataclass
class Ending:
    """What became of a node since its SIGTERM, as moments of `time.monotonic`."""

    began_at: float
    told_at: float
    out_at: float
    ended_at: float = float("inf")

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure("/readyz fails after", self.told_at - self.began_at, AT_ONCE),
            Figure("HAProxy has it out after", self.out_at - self.began_at, DELAY),
            Figure("exit after", self.ended_at - self.began_at, EXIT_TIMEOUT),
        ]


async def begin_ending(site: Site, index: int) -> Ending:
    """SIGTERM; until HAProxy has heard of it."""

    async def has_told() -> bool:
        return await site.ready_status(index) == 503

    async def is_out() -> bool:
        return (await site.cluster.balancer.states())[index] == "DOWN"

    began_at = time.monotonic()
    site.nodes[index].terminate()
    told = await until(has_told)
    out = await until(is_out)
    return Ending(began_at, began_at + told, began_at + told + out)


async def end(node: ClusterNode, ending: Ending) -> None:
    """Wait for it; HAProxy has heard of it before."""
    assert await node.exit_code(PATIENCE) == 0
    ending.ended_at = time.monotonic()


async def restart(site: Site, index: int) -> Ending:
    """As the documentation has it: the next one may follow."""
    ending = await begin_ending(site, index)
    await end(site.nodes[index], ending)
    await site.nodes[index].restart()
    return ending


def failed(sends: Sequence[Send]) -> list[Send]:
    """Refused, without an answer to a REST call, or stored without the first acknowledgement.

    What a socket sends in the moment in which it is closed is never begun, and is no
    failure: it gets no answer, and is stored when it is sent again.
    """
    return [
        send
        for send in sends
        if send.refusals or send.is_duplicate or (send.by_rest and send.unanswered)
    ]


def lost_at(load: LoadGenerator, window: Window) -> list[float]:
    """When each user lost its connection."""
    return [
        back - seconds
        for user in load.users
        for back, seconds in user.away
        if back - seconds >= window.began_at
    ]


async def test_a_node_that_ends_is_out_before_anybody_is_sent_away(
    site: Site, load: LoadGenerator
) -> None:
    await linger(0.5)
    with load.window() as window:
        ending = await begin_ending(site, 0)
        await until(lambda: others_are_ready(site))
        await end(site.nodes[0], ending)
        await load.level()
    await load.settle()
    assert "shutdown_incomplete" not in site.nodes[0].log
    await site.nodes[0].restart()
    sends, away = load.overlapping(window), load.away(window)
    record(
        12,
        "SIGTERM",
        sends,
        Figure("failed sends", len(failed(sends)), 0, unit=""),
        *ending.figures,
        Figure("p99 of being away", quantile(away, 0.99), BACK),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("longest send", slowest(sends)),
    )
    # If all stands still, we hear of it that much later.
    assert min(lost_at(load, window)) > ending.out_at or not is_for_table()


async def others_are_ready(site: Site) -> bool:
    return (await site.readiness())[1:] == [200, 200]


async def test_what_is_in_flight_when_the_sockets_leave_is_acknowledged(
    site: Site, load: LoadGenerator
) -> None:
    """PostgreSQL holds all sends up, from before the sockets leave until half have left."""
    await linger(0.5)
    node = site.nodes[0]
    async with connected(site.database_url) as connection:
        with load.window() as window:
            ending = await begin_ending(site, 0)
            await asyncio.sleep(max(0.0, ending.began_at + DELAY - time.monotonic()))
            await connection.execute("BEGIN; LOCK TABLE chat.messages IN SHARE MODE")
            await asyncio.sleep(HELD)
            await until(lambda: are_held(load))
            held = waiting(load)
            assert await load.stored_keys() & {send.key for send in held} == set()
            await connection.execute("ROLLBACK")
            await end(node, ending)
            await load.level()
    await load.settle()
    await node.restart()
    sends = load.overlapping(window)
    record(
        12,
        "SIGTERM while PostgreSQL holds all sends up",
        sends,
        Figure("sends held up", len(held), unit=""),
        # Whoever is held for longer is refused, and sends again.
        Figure("failed sends", len(failed(sends)), 0 if is_for_table() else None, unit=""),
        *ending.figures,
        Figure("longest send", slowest(sends)),
    )


def waiting(load: LoadGenerator) -> list[Send]:
    return [send for send in load.sends if send.acknowledged_at is None]


async def are_held(load: LoadGenerator) -> bool:
    return len(waiting(load)) >= ENOUGH


async def test_a_node_whose_postgresql_hangs_is_out_in_time_too(
    site: Site, load: LoadGenerator
) -> None:
    """SIGTERM comes while /readyz still waits to find out that the database hangs."""
    await linger(0.5)
    node = site.nodes[0]
    with load.window() as window:
        node.database.blackhole()
        probe = await begin_to_ask(site)
        ending = await begin_ending(site, 0)
        await end(node, ending)
        await load.level()
    assert await probe == 503
    await load.settle()
    node.database.heal()
    await node.restart()
    sends, away = load.overlapping(window), load.away(window)
    record(
        12,
        "SIGTERM while PostgreSQL hangs for the node",
        sends,
        *ending.figures,
        Figure("p99 of being away", quantile(away, 0.99), BACK),
        Figure("longest send", slowest(sends)),
    )


async def begin_to_ask(site: Site) -> asyncio.Task[int]:
    """/readyz of the first node, which does not know yet; in vain where we slept too long."""
    for _ in range(5):
        await asyncio.sleep(FRESH + 0.1)  # until no earlier answer stands
        probe = asyncio.create_task(site.ready_status(0))
        await asyncio.sleep(0.1)
        if not probe.done():
            break
    assert not probe.done()
    return probe


async def test_three_nodes_are_restarted_in_turn(site: Site, load: LoadGenerator) -> None:
    await linger(0.5)
    with load.window() as window:
        endings = [await restart(site, index) for index in range(len(site.nodes))]
        await load.level()
    await load.settle()
    sends, away = load.overlapping(window), load.away(window)
    record(
        12,
        "a rolling restart of all nodes",
        sends,
        Figure("failed sends", len(failed(sends)), 0, unit=""),
        Figure("clients sent away", len(away), unit=""),
        Figure("p99 of being away", quantile(away, 0.99), BACK),
        *slowest_of(endings),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("longest send", slowest(sends)),
    )


def slowest_of(endings: Sequence[Ending]) -> list[Figure]:
    """Of each figure the largest."""
    return [
        max(same, key=lambda figure: figure.value)
        for same in zip(*(ending.figures for ending in endings), strict=True)
    ]
