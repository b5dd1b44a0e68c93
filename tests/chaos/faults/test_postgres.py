"""Fault 5: PostgreSQL restarts under all nodes, and answers to commits are cut off."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chatserver.dev.postgres import EmbeddedPostgres
from tests.chaos.faults.load_generator import LoadGenerator, Window, p99, slowest
from tests.chaos.faults.records import Figure, linger, record
from tests.chaos.faults.sites import Site, running_site, until
from tests.kit.postgres import Databases, running_postgres

pytestmark = pytest.mark.asyncio(loop_scope="package")

BACK = 3.0
"""Seconds after PostgreSQL is ready again: whatever waited for it is done."""

HEARD = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """One that may be stopped."""
    with running_postgres() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with Databases(postgres).migrated() as url, running_site(url, directory) as running:
        yield running


async def all_ready(site: Site) -> float:
    async def are_ready() -> bool:
        return await site.readiness() == [200] * 3

    return await until(are_ready)


def waited(load: LoadGenerator, window: Window) -> float:
    """Seconds after the window until the last send of it was acknowledged."""
    return max(send.ended_at for send in load.overlapping(window)) - window.ended_at


@pytest.mark.parametrize("how", ["restarts", "crashes"])
async def test_sends_wait_for_a_postgresql_that_comes_back(
    site: Site, load: LoadGenerator, postgres: EmbeddedPostgres, how: str
) -> None:
    await linger(0.5)
    with load.window() as window:
        if how == "crashes":
            await asyncio.to_thread(postgres.kill)
        else:
            os.kill(postgres.pid, signal.SIGINT)  # as `pg_ctl stop -m fast`
        await linger(1)
        await load.until_enough(window)
        await asyncio.to_thread(postgres.restart)  # which waits until it has ended
    ready = await all_ready(site)
    level = await load.level()
    await load.settle()
    sends = load.overlapping(window)
    record(
        5,
        f"PostgreSQL {how}",
        sends,
        Figure("away for", window.ended_at - window.began_at),
        Figure("sends that were repeated", sum(s.attempts > 1 for s in sends), unit=""),
        Figure("nodes ready again", ready, BACK),
        Figure("last waiting send acknowledged", waited(load, window), BACK),
        Figure("all level", ready + level, HEARD),
    )
    assert load.away(window) == [], "nobody lost the connection"


async def test_what_was_committed_without_an_answer_is_sent_once(
    site: Site, load: LoadGenerator
) -> None:
    """Again and again on every node a connection ends between a commit and its reply."""
    await linger(0.5)
    cuts = []
    with load.window() as window:
        for _ in range(8):
            cuts += [node.database.cut_after(b"hello ") for node in site.nodes]
            await asyncio.sleep(0.25)
        await asyncio.wait(
            [asyncio.ensure_future(cut.done.wait()) for cut in cuts],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await load.until_enough(window)
    for node in site.nodes:
        node.database.heal()
    await load.settle()
    sends = load.overlapping(window)
    record(
        5,
        "the reply to COMMIT is cut off",
        sends,
        Figure("replies cut off", sum(cut.done.is_set() for cut in cuts), unit=""),
        Figure("sends that were repeated", sum(s.attempts > 1 for s in sends), unit=""),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("longest send", slowest(sends)),
        Figure("last waiting send acknowledged", waited(load, window), BACK),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )
    assert any(send.attempts > 1 for send in sends)
