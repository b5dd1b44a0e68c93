"""People who write and sync while somebody abuses the nodes, and how long each thing takes them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientSession, TCPConnector

from tests.chaos.faults.load_generator import quantile
from tests.kit.clients import Device, Rest, open_chat
from tests.kit.cluster import ClusterNode

PEOPLE = 8
PAUSE = 0.1
"""Seconds between two things that one of them does: far below what they may spend."""

WHATS = ("send", "sync", "readyz")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one thing took; `began_at` by `time.monotonic`. Seconds."""

    what: str
    began_at: float
    seconds: float


class Victims:
    """`waits` has what was measured since the last `take`."""

    def __init__(self, nodes: Sequence[ClusterNode]) -> None:
        self._nodes = nodes
        self._waits: list[Wait] = []
        self.not_ready = 0
        """How often a node said so."""

    def take(self) -> list[Wait]:
        waits, self._waits = self._waits, []
        return waits

    async def is_served(self) -> bool:
        """Whether each kind of thing was done at least once since the last `take`."""
        return {wait.what for wait in self._waits} == {*WHATS}

    async def chat(self, device: Device, chat_id: str) -> None:
        """Write and sync by turns, for ever."""
        answer = await device.call("sync", {})
        while True:
            message = {"conversation_id": chat_id, "content": "hello"}
            await self._time("send", device.call("message", message))
            await asyncio.sleep(PAUSE)
            sync = device.call("sync", {"cursor": answer["cursor"]})
            answer = await self._time("sync", sync)
            await asyncio.sleep(PAUSE)

    async def look(self, http: ClientSession, node: ClusterNode) -> None:
        """Ask the node whether it is ready, as a balancer does."""

        async def ask() -> dict[str, Any]:
            async with http.get(f"{node.base_url}/readyz") as response:
                self.not_ready += response.status != 200
                return {"ok": True}

        while True:
            await self._time("readyz", ask())
            await asyncio.sleep(PAUSE / 2)

    async def _time(self, what: str, doing: Any) -> Any:
        began_at = time.monotonic()
        answer = await doing
        assert answer["ok"], (what, answer)
        self._waits.append(Wait(what, began_at, time.monotonic() - began_at))
        return answer


@asynccontextmanager
async def running_victims(
    database_url: str, nodes: Sequence[ClusterNode]
) -> AsyncIterator[Victims]:
    """All at work. Whoever is refused anything, or is closed, fails the test at the end."""
    victims = Victims(nodes)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))
        tasks = [asyncio.create_task(victims.look(http, node)) for node in nodes]
        for number in range(PEOPLE):
            node = nodes[number % len(nodes)]
            chat = await open_chat(Rest(http, node.base_url), database_url)
            device = await Device.open(http, node.base_url, chat.tenant)
            stack.push_async_callback(device.close)
            tasks.append(asyncio.create_task(victims.chat(device, chat.id)))
        try:
            yield victims
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


def p99(waits: Iterable[Wait], what: str) -> float:
    return quantile([wait.seconds for wait in waits if wait.what == what], 0.99)


def memory(nodes: Sequence[ClusterNode]) -> int:
    """Bytes of the processes of these nodes, and of what the kernel keeps for their sockets."""
    resident: int = sum(psutil.Process(node.server.process.pid).memory_info().rss for node in nodes)
    return resident + kernel_buffers([node.port for node in nodes])


def kernel_buffers(ports: Sequence[int]) -> int:
    """Bytes that are neither read nor acknowledged, of the servers' ends; on Linux."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return 0
    total = 0
    for row in table.read_text().splitlines()[1:]:
        fields = row.split()
        if int(fields[1].rpartition(":")[2], 16) in ports:
            unsent, _, unread = fields[4].partition(":")
            total += int(unsent, 16) + int(unread, 16)
    return total


def cpu_seconds(nodes: Sequence[ClusterNode]) -> float:
    """That these nodes have used so far."""
    times = [psutil.Process(node.server.process.pid).cpu_times() for node in nodes]
    return float(sum(each.user + each.system for each in times))
