"""Fault 17: this month's partition is missing while everybody writes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from tests.chaos.faults.load_generator import LoadGenerator, p99, slowest
from tests.chaos.faults.records import Figure, linger, record
from tests.chaos.faults.sites import Site, until
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="package")

ALARM = "chat_default_partition_in_use"
RAISED = 15.0
"""Seconds after the first stray message, or the last, in which every node has noticed."""


@pytest_asyncio.fixture(loop_scope="package", autouse=True)
async def _without_partition(site: Site) -> AsyncIterator[None]:
    """Before there is a load: nothing is stored yet."""
    async with connected(site.database_url) as connection:
        await connection.execute(f"DROP TABLE chat.messages_{datetime.now(UTC):%Y_%m}")
        yield


async def test_without_a_partition_messages_are_kept_and_an_alarm_is_raised_on_every_node(
    site: Site, load: LoadGenerator
) -> None:
    async with connected(site.database_url) as connection:
        with load.window() as window:
            raised = await until(lambda: alarms(site, 1))
            strays = await connection.fetchval("SELECT count(*) FROM chat.messages_default")
            await linger(1)
            made = await until(lambda: makes_partition(connection))
            over = await until(lambda: alarms(site, 0))
        await load.settle()
        left = await connection.fetchval("SELECT count(*) FROM chat.messages_default")
    assert left == 0
    assert all("default_partition_in_use" in node.log for node in site.nodes)
    assert load.away(window) == []
    sends = load.overlapping(window)
    record(
        17,
        "this month's partition is missing",
        sends,
        Figure("messages in the default partition", strays, unit=""),
        Figure("alarm on every node after", raised, RAISED),
        Figure("partition made within", made, RAISED),
        Figure("alarm over after", over, RAISED),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("longest send", slowest(sends), 5.0),
        Figure("latest delivery", load.lateness(sends), 10.0),
    )
    assert strays > 0


async def alarms(site: Site, value: int) -> bool:
    """Whether that is what every node says."""
    found = await asyncio.gather(*(site.metric(n, ALARM) for n in range(len(site.nodes))))
    return set(found) == {value}


async def makes_partition(connection: asyncpg.Connection) -> bool:
    """Try as an operator does; false where those who write were in the way."""
    try:
        return bool(await connection.fetchval("SELECT chat.ensure_message_partitions()"))
    except asyncpg.LockNotAvailableError:
        return False
