"""Fair starts: what one address asks for at once begins in different turns of the loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import create_connection

import pytest
from aiohttp import web

from chatserver.aio.fair_starts import MOST, QUANTUM, WHOLE, FairStarts
from chatserver.http.origins import OriginPolicy
from chatserver.http.strangers import Strangers
from chatserver.services.budgets import LITTLE, Budgets
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics
from tests.kit.stalls import PATIENCE

SETTINGS = Settings.load(
    "dev", {}, overrides={"database.url": "postgresql://", "jwt.secret": "of these tests alone"}
)
HERE = "198.51.100.7"


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.now = 0
        self._next()

    def _next(self) -> None:
        self.now += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


@asynccontextmanager
async def counted_turns() -> AsyncIterator[Turns]:
    turns = Turns()
    try:
        yield turns
    finally:
        turns.stop()


@pytest.mark.virtual_time
async def test_each_key_has_one_start_in_a_turn_first_come_first_served() -> None:
    starts = FairStarts()
    begun: list[tuple[str, int, int]] = []

    async def start(key: str, number: int) -> None:
        await starts.wait(key)
        begun.append((key, number, turns.now))

    async with counted_turns() as turns:
        await asyncio.gather(*(start(key, number) for number in range(20) for key in "ab"))
    for key in "ab":
        assert [number for of, number, _ in begun if of == key] == list(range(20))
        assert len({turn for of, _, turn in begun if of == key}) == 20
    assert len({turn for _, _, turn in begun}) == 20, "neither waits for the other"
    assert len(starts) == 0


@pytest.mark.virtual_time
async def test_light_ones_begin_together_until_they_weigh_a_whole() -> None:
    starts = FairStarts()
    begun: list[int] = []

    async def start(weight: int) -> None:
        await starts.wait("a", weight)
        begun.append(turns.now)

    async with counted_turns() as turns:
        await asyncio.gather(*(start(1) for _ in range(9)), start(WHOLE), start(1))
    assert [begun.count(turn) for turn in sorted(set(begun))] == [4, 4, 1, 1, 1]


async def test_who_no_longer_waits_takes_no_turn() -> None:
    starts = FairStarts()
    await starts.wait("a")
    waiting = [asyncio.create_task(starts.wait("a")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting[:2]:
        task.cancel()
    async with asyncio.timeout(PATIENCE):
        await waiting[2]
    assert len(starts) == 0


@asynccontextmanager
async def running(limit: str) -> AsyncIterator[tuple[Budgets, Turns, list[int], int]]:
    """A site that notes in which turn each request begins, at the port."""
    settings = SETTINGS.override(rate_limit__address=limit)
    budgets = Budgets(settings.rate_limit, settings.costs, Metrics())
    strangers = Strangers(budgets, OriginPolicy((), ("127.0.0.1",)), Metrics())
    begun: list[int] = []

    async def answer(_: web.Request) -> web.Response:
        begun.append(turns.now)
        return web.Response()

    app = web.Application(middlewares=[strangers.take_turn])
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2 * MANY).start()
        async with counted_turns() as turns:
            yield budgets, turns, begun, runner.addresses[0][1]
    finally:
        await runner.cleanup()


MANY = 2 * MOST
"""More than may begin in a turn, however long the one before took on a busy machine."""


async def ask_at_once(port: int, path: str, begun: list[int]) -> None:
    """MANY requests from HERE, all there before the loop looks at any."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {HERE}\r\n\r\n".encode()
    clients = [create_connection(("127.0.0.1", port)) for _ in range(MANY)]
    try:
        for client in clients:
            client.sendall(request)
        async with asyncio.timeout(PATIENCE):
            while len(begun) < MANY:  # noqa: ASYNC110
                await asyncio.sleep(0)
    finally:
        for client in clients:
            client.close()


async def test_requests_of_an_address_that_spends_begin_in_turns_of_their_own() -> None:
    async with running("100/hour") as (budgets, _, begun, port):
        budgets.spend_unproven(HERE, 100 * LITTLE + 1)
        await ask_at_once(port, "/", begun)
        assert max(begun.count(turn) for turn in begun) <= MOST // WHOLE


async def test_of_who_has_spent_nothing_a_few_begin_in_a_turn() -> None:
    async with running("100/hour") as (_, _, begun, port):
        await ask_at_once(port, "/", begun)
        assert max(begun.count(turn) for turn in begun) <= MOST


async def test_health_checks_wait_for_no_turn() -> None:
    async with running("100/hour") as (budgets, _, begun, port):
        budgets.spend_unproven(HERE, 100)
        await ask_at_once(port, "/readyz", begun)
        assert max(begun.count(turn) for turn in begun) > MOST


async def test_without_a_limit_nobody_waits() -> None:
    async with running("") as (budgets, _, begun, port):
        budgets.spend_unproven(HERE, 1000)
        await ask_at_once(port, "/", begun)
        assert max(begun.count(turn) for turn in begun) > MOST


async def test_after_a_long_turn_more_begin_but_not_very_many() -> None:
    starts = FairStarts()
    begun: list[int] = []

    async def start() -> None:
        await starts.wait("a")
        begun.append(turns.now)

    async with counted_turns() as turns, asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(start())
        await asyncio.sleep(0)
        time.sleep(100 * QUANTUM)  # noqa: ASYNC251 -- the loop is busy with something else
    assert 1 < max(begun.count(turn) for turn in begun) <= MOST // WHOLE
