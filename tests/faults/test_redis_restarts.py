"""Fault 2: Redis restarts. Sends go on; what was not heard comes a little later."""

import asyncio

import pytest

from tests.faults.crowd import Crowd, quantile
from tests.faults.records import Figure, record
from tests.faults.sites import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_sends_go_on_while_redis_restarts(site: Site, crowd: Crowd) -> None:
    await asyncio.sleep(1)
    with crowd.window() as window:
        await asyncio.to_thread(site.redis.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(site.redis.start)
    await crowd.level()
    await crowd.settle()
    sends = crowd.overlapping(window)
    record(
        2,
        "Redis restarts",
        sends,
        Figure("p99 of the acknowledgement", quantile([s.seconds for s in sends], 0.99), 1.0),
        Figure("latest delivery", crowd.lateness(sends), 10.0),
    )
