"""Fault 19: one account, or a stranger, sends all that it can; the others hardly notice.

How much they notice is measured by `make faults`. `make test` sees that whoever does all of
it is told and closed, and that the others are acknowledged and little memory is held.
The budgets are on. Those who are measured, and the abusers, are on different addresses.
"""

import asyncio
import json
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from chatserver.dev.redis import EmbeddedRedis
from tests.chaos.faults.abusers import ACCOUNT, LINES, STRANGER, Spec, command
from tests.chaos.faults.load_generator import quantile
from tests.chaos.faults.measured import turns
from tests.chaos.faults.records import Figure, is_for_table, record
from tests.chaos.faults.sites import until
from tests.chaos.faults.victims import (
    WHATS,
    Victims,
    Wait,
    cpu_seconds,
    kernel_buffers,
    memory,
    p99,
    running_victims,
)
from tests.kit.clients import Chat, Rest, open_chat
from tests.kit.cluster import ClusterNode, running_cluster
from tests.kit.postgres import Databases
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 5.0
"""Seconds in which somebody who asks for everything at once has spent a whole budget, more
than a second of CPU. Then they have what a budget gets back."""

SECONDS = 15.0
"""In peace, and after the burst."""

CONVERSATIONS = 10_000 if is_for_table() else 1000
"""That the account has before it begins."""

CONNECTIONS = 500 if is_for_table() else 60
"""From which nothing is read."""

TWICE = 2.0
UNNOTICED = 0.005
"""Seconds; twice of what is shorter is still nothing that anybody would notice."""

FLAT = 128
"""MiB that a node and the kernel may hold for all of it; without bounds they were gigabytes."""

BACK = 2**20
"""Bytes that the kernel may hold for a node's sockets afterwards. What the allocator of the
process keeps for the next time is a figure: it does not add up."""

BACK_WITHIN = 20.0

AT_LAST = 120.0
"""Seconds in which somebody who goes on is told and closed, on any machine."""

STATES = """
    WITH flats AS (
        INSERT INTO core.listings (id, owner_user_id)
        SELECT gen_random_uuid(), $2 FROM generate_series(1, $3) RETURNING id
    ), opened AS (
        INSERT INTO chat.conversations (id, listing_id, client_user_id, owner_user_id)
        SELECT gen_random_uuid(), id, $1, $2 FROM flats RETURNING id
    )
    INSERT INTO chat.participants (conversation_id, user_id, role)
    SELECT id, $1, 'client' FROM opened UNION ALL SELECT id, $2, 'owner' FROM opened
"""
LISTINGS = """
    INSERT INTO core.listings (id, owner_user_id)
    SELECT gen_random_uuid(), $1 FROM generate_series(1, 400) RETURNING id
"""


@asynccontextmanager
async def abused(databases: Databases, directory: Path, nodes: int) -> AsyncIterator["Place"]:
    async with databases.migrated() as url, AsyncExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis()).url if nodes > 1 else None
        settings: dict[str, Any] = {}
        if is_for_table():
            settings["program"] = ("tests.chaos.faults.measured", str(directory))
        cluster = await stack.enter_async_context(
            running_cluster(url, redis, directory, nodes=nodes, has_balancer=False, **settings)
        )
        yield Place(url, cluster.nodes, directory)


class Place:
    """The nodes, and an account to abuse them with."""

    def __init__(self, database_url: str, nodes: list[ClusterNode], directory: Path) -> None:
        self.database_url = database_url
        self.nodes = nodes
        self._directory = directory

    async def is_kernel_back(self) -> bool:
        """Whether the kernel holds next to nothing for the nodes' sockets."""
        return kernel_buffers([node.port for node in self.nodes]) < BACK * len(self.nodes)

    def turns(self, begin: float, end: float) -> list[float]:
        """As `tests.chaos.faults.measured.turns`, of all nodes."""
        pids = [node.server.process.pid for node in self.nodes]
        return turns(self._directory, pids, begin, end)

    async def spec(self, lines: Sequence[str], seconds: float, *, is_patient: bool) -> Spec:
        """With a new account that has many conversations, and one with many messages."""
        ports = [node.port for node in self.nodes]
        spec = Spec(ports, list(lines), seconds, CONNECTIONS, is_patient)
        if not set(lines) <= set(STRANGER):
            async with ClientSession() as http:
                rest = Rest(http, self.nodes[0].base_url)
                chat = await open_chat(rest, self.database_url)
                await self._fill(rest, chat)
            spec.token, spec.conversation = chat.tenant.token(), chat.id
            async with connected(self.database_url) as connection:
                owner = chat.landlord.id
                await connection.execute(STATES, chat.tenant.id, owner, CONVERSATIONS)
                spec.listings = [str(row["id"]) for row in await connection.fetch(LISTINGS, owner)]
        return spec

    async def _fill(self, rest: Rest, chat: Chat) -> None:
        for _ in range(10):
            parts = [{"content": "x" * 1000, "client_msg_id": str(uuid4())} for _ in range(10)]
            await asyncio.gather(*(rest.send(chat.landlord, chat.id, **each) for each in parts))


@dataclass(slots=True)
class Watched:
    """What was measured while something went on. `memory` is the most, in bytes."""

    waits: list[Wait]
    began_at: float
    seconds: float
    cpu: float
    memory: int

    @property
    def ended_at(self) -> float:
        return self.began_at + self.seconds

    @property
    def burst(self) -> list[Wait]:
        return [wait for wait in self.waits if wait.began_at <= self.began_at + BURST]

    @property
    def after_burst(self) -> list[Wait]:
        return [wait for wait in self.waits if wait.began_at > self.began_at + BURST]


async def watch(place: Place, victims: Victims, doing: Awaitable[object]) -> Watched:
    victims.take()
    began_at, cpu, most = time.monotonic(), cpu_seconds(place.nodes), 0
    task = asyncio.ensure_future(doing)
    while not task.done():
        most = max(most, memory(place.nodes))
        await asyncio.wait([task], timeout=0.2)
    await task
    seconds = time.monotonic() - began_at
    return Watched(victims.take(), began_at, seconds, cpu_seconds(place.nodes) - cpu, most)


async def run(spec: Spec) -> dict[str, int]:
    """The abusers' program, and what it heard."""
    program = await asyncio.create_subprocess_exec(*command(spec), stdout=PIPE)
    try:
        output, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
    assert program.returncode == 0
    heard: dict[str, int] = json.loads(output)
    return {"sent": 0, "told": 0, "closed": 0, **heard}


async def abuse(place: Place, what: str, lines: Sequence[str]) -> None:
    """Measure in peace, and then while somebody does these things, and record it."""
    spec = await place.spec(lines, BURST + SECONDS, is_patient=True)
    async with running_victims(place.database_url, place.nodes) as victims:
        await asyncio.sleep(1)  # everybody has connected, and the nodes are warm
        peace = await watch(place, victims, asyncio.sleep(SECONDS))
        program = asyncio.create_task(run(spec))
        meanwhile = await watch(place, victims, program)
    heard = program.result()

    nodes = len(place.nodes)
    back = await until(place.is_kernel_back)
    kept = memory(place.nodes) - peace.memory
    record(
        19,
        what,
        meanwhile.after_burst,
        *compare(peace, meanwhile),
        *look_at_turns(place, peace, meanwhile),
        Figure("not ready", victims.not_ready, 0, "times"),
        Figure("CPU of a node in peace", 100 * peace.cpu / peace.seconds / nodes, unit="%"),
        Figure("and meanwhile", 100 * meanwhile.cpu / meanwhile.seconds / nodes, unit="%"),
        Figure("sent", heard["sent"], unit=""),
        Figure("told", heard["told"], unit=""),
        Figure("closed", heard["closed"], unit=""),
        Figure("memory grew by", (meanwhile.memory - peace.memory) / 2**20, FLAT * nodes, "MiB"),
        Figure("kept", kept / 2**20, FLAT * nodes, "MiB"),
        Figure("the kernel's back after", back, BACK_WITHIN),
    )
    if len(lines) > 1:
        assert heard["told"] > 0
        assert heard["closed"] > 0


def compare(peace: Watched, meanwhile: Watched) -> Iterator[Figure]:
    """The p99 of everything: at most twice of what it is in peace."""
    for what in WHATS:
        quiet = p99(peace.waits, what)
        yield Figure(f"p99 of {what} in peace", quiet)
        yield Figure(f"in the first {BURST:.0f} s", p99(meanwhile.burst, what))
        yield Figure("then", p99(meanwhile.after_burst, what), max(TWICE * quiet, UNNOTICED))


def look_at_turns(place: Place, peace: Watched, meanwhile: Watched) -> Iterator[Figure]:
    """The node's own part in what the victims waited for."""
    burst_ends = meanwhile.began_at + BURST
    for when, begin, end in (
        ("in peace", peace.began_at, peace.ended_at),
        (f"in the first {BURST:.0f} s", meanwhile.began_at, burst_ends),
        ("then", burst_ends, meanwhile.ended_at),
    ):
        found = place.turns(begin, end)
        yield Figure(f"p99 of a turn's CPU {when}", 1000 * quantile(found, 0.99), unit="ms")
        yield Figure("at most", 1000 * found[-1], unit="ms")


@pytest.mark.skipif(is_for_table(), reason="an outcome, for `make test`")
async def test_whoever_does_everything_is_told_and_closed_and_the_others_are_served(
    databases: Databases, tmp_path: Path
) -> None:
    async with abused(databases, tmp_path, nodes=1) as place:
        spec = await place.spec(list(LINES), AT_LAST, is_patient=False)
        async with running_victims(place.database_url, place.nodes) as victims:
            before = memory(place.nodes)
            program = asyncio.create_task(run(spec))
            meanwhile = await watch(place, victims, program)
            # Each is acknowledged, or `running_victims` fails at its end.
            await until(victims.is_served)
        heard = program.result()
        assert heard["told"] > 0
        assert heard["closed"] > 0
        assert meanwhile.memory - before < FLAT * 2**20
        await until(place.is_kernel_back, AT_LAST)


@pytest.mark.skipif(not is_for_table(), reason="minutes: for `make faults`")
async def test_all_at_once_from_an_account_and_a_stranger(
    databases: Databases, tmp_path: Path
) -> None:
    async with abused(databases, tmp_path, nodes=1) as place:
        await abuse(place, "an account and a stranger do everything, one node", list(LINES))


@pytest.mark.skipif(not is_for_table(), reason="minutes: for `make faults`")
@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize(
    ("who", "lines"),
    [("an account", ACCOUNT), ("a stranger", STRANGER)],
    ids=["account", "stranger"],
)
async def test_all_at_once(
    who: str, lines: list[str], nodes: int, databases: Databases, tmp_path: Path
) -> None:
    async with abused(databases, tmp_path, nodes) as place:
        await abuse(place, f"{who} does everything, {nodes} nodes", lines)


@pytest.mark.skipif(not is_for_table(), reason="minutes: for `make faults`")
async def test_each_alone(databases: Databases, tmp_path: Path) -> None:
    async with abused(databases, tmp_path, nodes=1) as place:
        for name in LINES:
            await abuse(place, name, [name])
