"""`make bench ARGS='--against COMMIT'`: what a message costs here and in another commit.

Both servers run at the same time, on databases of their own, and get the load in turn: ours,
theirs, theirs, ours, and the other way round in the next round. So what the machine does
meanwhile hits both, and what a server has of luck with its memory is new in each round.
"""

import argparse
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench import people
from bench.checkouts import Checkout, checked_out, ours
from bench.crowds import Crowd
from bench.databases import check_stored, refresh_statistics
from bench.dialects import SocketIO
from bench.loads import Load, closed_loop, open_loop
from bench.processes import Usage, measure
from bench.ratios import ratio_of
from bench.tables import table
from bench.targets import ROOT, Running, product
from chatserver.dev.postgres import EmbeddedPostgres

Costs = dict[str, float]
"""µs of CPU for each acknowledged message, and messages a second."""

ROWS = (
    ("server CPU, µs for a message", "server_cpu"),
    ("PostgreSQL CPU, µs for a message", "postgres_cpu"),
    ("both, µs for a message", "both_cpu"),
    ("acknowledged messages/s", "acknowledged"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` messages a second, or 0: as fast as they are acknowledged, `window` on the way.

    In `growing` seconds, after as long a warm-up, a new database gets its first messages.
    """

    rounds: int
    seconds: float
    pairs: int
    window: int
    rate: float = 0.0
    growing: float = 2.0


@dataclass(slots=True)
class _Side:
    """One server with everybody connected."""

    server: Running
    crowd: Crowd
    url: str


class Comparison:
    """Two checkouts on one PostgreSQL."""

    def __init__(
        self, checkouts: Sequence[Checkout], postgres: EmbeddedPostgres, logs: Path, plan: Plan
    ) -> None:
        self._checkouts = checkouts
        self._postgres = postgres
        self._logs = logs
        self._plan = plan

    async def run(self, say: Callable[[str], None]) -> list[list[Costs]]:
        """For each round the costs of each checkout. Raises VoidRun, TargetError, CheckoutError."""
        rounds = []
        for number in range(self._plan.rounds):
            say(f"round {number + 1} of {self._plan.rounds}")
            gc.collect()
            first = number % 2
            rounds.append(await self._round([first, 1 - first, 1 - first, first]))
        return rounds

    async def _round(self, order: Sequence[int]) -> list[Costs]:
        loads: list[list[Load]] = [[], []]
        async with AsyncExitStack() as stack:
            sides = [
                await stack.enter_async_context(self._side(checkout, f"bench_against_{index}"))
                for index, checkout in enumerate(self._checkouts)
            ]
            for side in sides:
                await closed_loop(
                    side.crowd, self._meter(side), window=1, seconds=self._plan.growing
                )
                await refresh_statistics(side.url)
            for index in order:
                loads[index].append(await self._load(sides[index]))
            for side in sides:
                side.crowd.close()
                await check_stored(side.url, side.crowd.acknowledged)
        return [_costs(of_one) for of_one in loads]

    @asynccontextmanager
    async def _side(self, checkout: Checkout, name: str) -> AsyncIterator[_Side]:
        url = await checkout.make_database(self._postgres, name, self._plan.pairs)
        crowd = Crowd(SocketIO(), people.pairs(self._plan.pairs))
        try:
            async with product(checkout.root)(url, self._logs) as server:
                await crowd.connect(server.port)
                yield _Side(server, crowd, url)
        finally:
            crowd.close()
            await self._postgres.drop_database(name)

    async def _load(self, side: _Side) -> Load:
        plan, meter = self._plan, self._meter(side)
        if plan.rate:
            return await open_loop(side.crowd, meter, rate=plan.rate, seconds=plan.seconds)
        return await closed_loop(side.crowd, meter, window=plan.window, seconds=plan.seconds)

    def _meter(self, side: _Side) -> Callable[[], Usage]:
        return lambda: measure(side.server.pids, self._postgres.pid)


def _costs(loads: Sequence[Load]) -> Costs:
    server, postgres = (
        mean(getattr(load, name) for load in loads) for name in ("server_cpu", "postgres_cpu")
    )
    return {
        "server_cpu": server,
        "postgres_cpu": postgres,
        "both_cpu": server + postgres,
        "acknowledged": mean(load.acknowledged for load in loads),
    }


async def run(
    options: argparse.Namespace,
    postgres: EmbeddedPostgres,
    directory: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The figures of all rounds, as `render` takes them."""
    plan = Plan(options.rounds, options.seconds, options.pairs, options.windows[0], options.rate)
    with checked_out(ROOT, options.against, directory) as theirs:
        mine = ours(ROOT)
        rounds = await Comparison([mine, theirs], postgres, directory, plan).run(say)
    return {"titles": [mine.title, theirs.title], "rounds": rounds}


def render(results: dict[str, Any]) -> str:
    """A table: medians of the rounds, and the ratio ours : theirs with its interval."""
    lines, confidence = [], 0.0
    for title, name in ROWS:
        mine, other = ([one[index][name] for one in results["rounds"]] for index in (0, 1))
        ratio = ratio_of(mine, other)
        confidence = ratio.confidence
        figures = [f"{median(values):,.1f}" for values in (mine, other)]
        interval = f"{ratio.low:.3f} – {ratio.high:.3f}"
        lines.append([title, *figures, f"{ratio.median:.3f}", interval])
    heads = ["", *results["titles"], "ratio", f"{confidence:.0%} interval"]
    count = len(results["rounds"])
    return f"{count} rounds, of which the medians.\n\n{table(heads, lines)}"
