"""Fault 7: clients that do not read are dropped, and nobody else notices them."""

import asyncio
import json
from contextlib import suppress

import pytest
from aiohttp import ClientSession

from tests.chaos.faults.load_generator import LoadGenerator, p99
from tests.chaos.faults.records import Figure, is_for_table, linger, record
from tests.chaos.faults.sites import PATIENCE, Site, until
from tests.kit.app import Person
from tests.kit.clients import Rest, open_chat
from tests.unit.realtime.wire import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="package")

LARGE = "\N{HOUSE BUILDING}" * 5000
"""20 kB, as long as a text may be: each socket of both people gets every one."""

OVERFLOWS = 'websocket_errors_total{error_type="queue_overflow"}'

FLOOD = 8
"""Who send them at once."""


async def test_clients_that_do_not_read_are_dropped_and_the_others_do_not_notice(
    site: Site, load: LoadGenerator
) -> None:
    node = site.nodes[0]
    async with ClientSession() as http:
        rest = Rest(http, node.base_url)
        chat = await open_chat(rest, site.database_url)
        with load.window() as flooded:
            if is_for_table():
                # The same traffic with nobody who does not read, to compare with.
                await flood(rest, chat.tenant, chat.id, seconds=2.5)
        slow = [await open_slow(node.port, chat.landlord) for _ in range(4)]
        pinging = [asyncio.create_task(keep_answering(each)) for each in slow[:2]]

        async def are_dropped() -> bool:
            return await site.metric(0, OVERFLOWS) >= len(slow)

        with load.window() as window:
            flooding = asyncio.create_task(flood(rest, chat.tenant, chat.id, seconds=PATIENCE))
            dropped = await until(are_dropped)
            await linger(1)
        flooding.cancel()
        await asyncio.gather(flooding, *pinging, return_exceptions=True)
    for each in slow:
        await until(each.was_closed)
        each.close()
    await load.settle()
    before, sends = p99(load.overlapping(flooded)), load.overlapping(window)
    record(
        7,
        "clients that do not read, silent or answering pings",
        sends,
        Figure("all four dropped after", dropped, 15.0),
        Figure("the others' p99 without them", before),
        Figure("and with them", p99(sends), 3 * before + 0.1),
    )
    assert load.away(window) == [], "nobody else was dropped"


async def flood(rest: Rest, who: Person, chat_id: str, seconds: float) -> None:
    async def keep_sending() -> None:
        while True:
            answer = await rest.send(who, chat_id, content=LARGE)
            assert answer.status in (201, 503)
            await asyncio.sleep(0.1)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(keep_sending() for _ in range(FLOOD)))


async def open_slow(port: int, person: Person) -> RawClient:
    return await RawClient.open(port, "40" + json.dumps({"token": person.token()}))


async def keep_answering(client: RawClient) -> None:
    """Pongs, as a client of which only the reading hangs."""
    with suppress(ConnectionError):
        while True:
            await client.send("3")
            await asyncio.sleep(1)
