"""One round of one server: its best rate, its times at fixed rates, and what sockets cost."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import people
from bench.crowds import Crowd
from bench.databases import check_stored, refresh_statistics
from bench.fanout import listen
from bench.loads import Load, Meter, closed_loop, open_loop
from bench.processes import measure, memory_bytes
from bench.targets import Running, Target
from chatserver.dev.postgres import EmbeddedPostgres

COMMON_RATE = 1000.0
"""Messages a second, the same for every server, beside half of its own best rate."""

FANOUT_RATE = 200.0
"""Low enough for any number of nodes on one machine: it is counted, not timed."""

HEADROOM = 1.1
"""A server whose best rate is not this much above a rate is not measured at it."""

FIRST_SOCKETS = 200
"""Opened and closed before memory is read: what the first sockets load counts for none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sections to measure, and for how long.

    In `growing` seconds, after as long a warm-up, a new database gets its first
    messages. Memory is read `rest` seconds after the sockets were opened, when a
    garbage collector may have had its turn.
    """

    sections: frozenset[str]
    seconds: float
    conversations: int
    windows: Sequence[int]
    sockets: int
    growing: float = 2.0
    rest: float = 3.0

    @property
    def pairs(self) -> int:
        """Of people: those who write together, and one more who write alone."""
        return max(self.conversations, (self.sockets + 1) // 2, FIRST_SOCKETS) + 1


class Round:
    """Measures one server on a database of its own each time that it is started."""

    def __init__(
        self, target: Target, postgres: EmbeddedPostgres, directory: Path, plan: Plan
    ) -> None:
        self._target = target
        self._postgres = postgres
        self._directory = directory
        self._plan = plan
        self._sections = plan.sections & target.sections

    async def run(self) -> dict[str, Any]:
        """The figures by section, as JSON has them; raises VoidRun and TargetError."""
        figures: dict[str, Any] = {}
        if self._sections & {"throughput", "latency", "alone", "fanout"}:
            figures |= await self._messages()
        if "sockets" in self._sections:
            figures["sockets"] = await self._sockets()
        return figures

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[tuple[str, Running]]:
        name = f"bench_{self._target.name.replace('-', '_')}"
        url = await self._target.make_database(self._postgres, name, self._plan.pairs)
        try:
            async with self._target.launch(url, self._directory) as server:
                yield url, server
        finally:
            await self._postgres.drop_database(name)

    async def _messages(self) -> dict[str, Any]:
        async with self._running() as (url, server):
            crowd = Crowd(self._target.dialect, people.pairs(self._plan.conversations))
            try:
                await crowd.connect(server.port)
                await self._grow(crowd, url, self._meter(server))
                figures: dict[str, Any] = {}
                if self._sections & {"throughput", "latency"}:
                    figures |= await self._loads(crowd, url, self._meter(server))
                if "fanout" in self._sections:
                    figures["fanout"] = await self._fanout(crowd, server)
                figures["order"] = {"disordered": crowd.disordered}
            finally:
                crowd.close()
            acknowledged = crowd.acknowledged
            if "alone" in self._sections:
                load, count = await self._alone(server)
                figures["alone"] = asdict(load)
                acknowledged += count
            await check_stored(url, acknowledged)
        return figures

    async def _alone(self, server: Running) -> tuple[Load, int]:
        """One sender, one message at a time: the load, and how many were acknowledged."""
        crowd = Crowd(self._target.dialect, people.pairs(self._plan.pairs)[-1:])
        try:
            await crowd.connect(server.port)
            meter = self._meter(server)
            load = await closed_loop(crowd, meter, window=1, seconds=self._plan.seconds)
        finally:
            crowd.close()
        return load, crowd.acknowledged

    async def _grow(self, crowd: Crowd, url: str, meter: Meter) -> None:
        """First messages that count for nothing: an empty database has plans of its own."""
        await closed_loop(crowd, meter, window=1, seconds=self._plan.growing)
        await refresh_statistics(url)

    def _meter(self, server: Running) -> Meter:
        return lambda: measure(server.pids, self._postgres.pid)

    async def _loads(self, crowd: Crowd, url: str, meter: Meter) -> dict[str, Any]:
        best = await self._best(crowd, meter)
        figures = {"throughput": asdict(best)}
        if "latency" in self._sections:
            rates = {"half": best.acknowledged / 2, "common": COMMON_RATE}
            for name, rate in rates.items():
                if best.acknowledged > rate * HEADROOM:
                    # Or COMMIT would wait for the disk to take what the load before has left.
                    await refresh_statistics(url)
                    load = await open_loop(crowd, meter, rate=rate, seconds=self._plan.seconds)
                    figures[name] = asdict(load)
        return figures

    async def _fanout(self, crowd: Crowd, server: Running) -> dict[str, Any]:
        """For each message: what was published to Redis, and what one node had to read."""
        before, acknowledged = await listen(server.nodes), crowd.acknowledged
        meter = self._meter(server)
        await open_loop(crowd, meter, rate=FANOUT_RATE, seconds=self._plan.seconds)
        heard, messages = await listen(server.nodes) - before, crowd.acknowledged - acknowledged
        return {
            "published": heard.published / messages,
            "handled": heard.received / messages / len(server.nodes),
        }

    async def _best(self, crowd: Crowd, meter: Meter) -> Load:
        """Of the windows that are tried: some servers are faster with more on the way."""
        loads = [
            await closed_loop(crowd, meter, window=window, seconds=self._plan.seconds)
            for window in self._plan.windows
        ]
        return max(loads, key=lambda load: load.acknowledged)

    async def _sockets(self) -> dict[str, Any]:
        """Sockets opened a second, and the bytes that each takes while it is idle."""
        async with self._running() as (_, server):
            await self._open_and_close(server)
            before = _memory(server)
            crowd = Crowd(self._target.dialect, people.pairs(self._plan.sockets // 2))
            try:
                began, meter = time.perf_counter(), self._meter(server)
                used = meter()
                await crowd.connect(server.port)
                elapsed, used = time.perf_counter() - began, meter() - used
                await asyncio.sleep(self._plan.rest)
                count = 2 * len(crowd.pairs)
                return {
                    "opened": count / elapsed,
                    "server_cpu": used.server / count * 1e6,
                    "memory": (_memory(server) - before) / count,
                }
            finally:
                crowd.close()

    async def _open_and_close(self, server: Running) -> None:
        crowd = Crowd(self._target.dialect, people.pairs(FIRST_SOCKETS // 2))
        await crowd.connect(server.port)
        crowd.close()
        await asyncio.sleep(self._plan.rest)


def _memory(server: Running) -> int:
    return sum(map(memory_bytes, server.pids))
