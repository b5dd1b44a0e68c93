"""A run: random frames and requests against a node process, beside two people who chat."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from chatserver.dev.ports import free_port
from chatserver.models import Role
from tests.chaos.fuzz.connections import Connections
from tests.chaos.fuzz.frames import Frames
from tests.chaos.fuzz.junk import Junk
from tests.chaos.fuzz.requests import Requests
from tests.chaos.fuzz.victims import chatting
from tests.kit.app import add_person
from tests.kit.clients import Rest, open_chat
from tests.kit.processes import ServerProcess, serving
from tests.kit.stalls import STANDSTILL

WORKERS = 8
"""So many connections, and so many requests, at once."""

MESSAGES = 10
"""There for random edits, deletions and receipts."""

WARM_UP = 0.1
"""The part of a run after which memory is measured for the first time."""

SETTLED = 60.0
"""Seconds after a run within which everything of it is gone."""

GROWTH = 48 * 2**20
"""Bytes by which the process may grow after the warm-up, in a run of any length."""

SETTINGS = {
    "rate_limit__user": "",
    "rate_limit__address": "",
    # Polling clients that vanished are gone soon.
    "realtime__ping_interval": 1.0,
    "realtime__ping_timeout": 2 + STANDSTILL,
    "program": ("tests.chaos.checker.faulty", ""),  # tells how many tasks there are
}
"""Without limits, or a run would see little but `rate_limited`."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the node holds."""

    sockets: int
    tasks: int
    files: int
    memory: int


@dataclass
class Report:
    seed: int
    frames: int = 0
    connections: int = 0
    requests: int = 0
    stored: int = 0
    """Messages that they came to: what is random is not all refused."""
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """What nobody should have seen."""
    victims: int = 0
    """Messages of those who chatted meanwhile."""
    p99: float = 0.0
    seconds: float = 0.0
    grown: int = 0
    """Bytes of memory since the warm-up."""

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(self.statuses.items()))
        lines = [
            f"seed {self.seed}: {self.frames:,} frames on {self.connections:,} connections and "
            f"{self.requests:,} requests in {self.seconds:.0f} s; memory {self.grown / 2**20:+.1f} "
            f"MiB since the warm-up",
            f"answers: {statuses}; {self.stored:,} messages stored",
            f"beside them {self.victims:,} messages, p99 of the acknowledgement {self.p99:.3f} s",
            *(f"FAILED: {failure}" for failure in self.failures),
        ]
        return "\n".join(lines)


class Run:
    """Connection or request `n` of a seed is the same in every run."""

    def __init__(self, seed: int, server: ServerProcess, http: ClientSession) -> None:
        self.report = Report(seed)
        self._server = server
        self._http = http
        self._connections = 0

    async def frames(self, connections: Connections, ids: list[str], count: int) -> None:
        """Make connections until they have sent `count` frames."""
        while connections.frames < count:
            self._connections += 1
            random = Random(f"{self.report.seed} connection {self._connections}")
            name = f"connection {self._connections}"
            try:
                await connections.run(Frames(random, Junk(random, ids)))
            except OSError as error:
                self.report.failures.append(f"{name}: {error!r}")
                return
            for told in [*connections.told]:
                self.report.failures.append(f"{name}: {told}")
            connections.told.clear()
        self.report.frames, self.report.connections = connections.frames, self._connections

    async def requests(self, make: Callable[[Random], Requests], count: int) -> None:
        """Send requests until there were `count`."""
        while self.report.requests < count:
            self.report.requests += 1
            number = self.report.requests
            request = make(Random(f"{self.report.seed} request {number}")).request()
            url = URL(self._server.base_url + request.url, encoded=True)
            try:
                async with self._http.request(
                    request.method, url, headers=request.headers, data=request.body
                ) as response:
                    body = await response.read()
            except (ClientError, TimeoutError, ValueError) as error:
                self.report.failures.append(f"request {number}: {error!r}")
                continue
            self.report.statuses[response.status] += 1
            has_reason = response.status == 503 and b'"code"' in body
            if response.status >= 500 and not has_reason:
                self.report.failures.append(
                    f"request {number}: {response.status} to {request}: {body[:300]!r}"
                )

    async def held(self) -> Held:
        async with self._http.get(f"{self._server.base_url}/metrics") as response:
            text = await response.text()
        process = psutil.Process(self._server.process.pid)
        return Held(
            _sum(text, "chat_engineio_connections"),
            _sum(text, "checker_tasks"),
            process.num_fds(),
            process.memory_info().rss,
        )

    async def settled(self, before: Held) -> Held:
        """Wait until sockets, tasks and files are as `before`."""
        deadline = time.monotonic() + SETTLED
        while True:
            held = await self.held()
            grown = [
                f"{name} {getattr(before, name)} -> {getattr(held, name)}"
                for name in ("sockets", "tasks", "files")
                # Of this asking alone, and of connections that the pool keeps.
                if getattr(held, name) > getattr(before, name) + 2 * WORKERS
            ]
            if not grown:
                return held
            if time.monotonic() > deadline:
                self.report.failures.append(f"left behind: {', '.join(grown)}")
                return held
            await asyncio.sleep(0.2)


async def fuzz(
    database_url: str, directory: Path, *, seed: int, frames: int, requests: int
) -> Report:
    """One run against a node of its own."""
    port, begun = free_port(), time.monotonic()
    async with serving(database_url, port, directory, **SETTINGS) as server, _http() as http:
        run, rest = Run(seed, server, http), Rest(http, server.base_url)
        mine, victims = await open_chat(rest, database_url), await open_chat(rest, database_url)
        admin = await add_person(database_url, Role.ADMIN)
        sent = [await rest.send(mine.tenant, mine.id, content="hello") for _ in range(MESSAGES)]
        ids = [mine.id] * MESSAGES + [each.body["id"] for each in sent] + [str(mine.listing_id)]
        document = (await rest.get("/api/openapi.json")).body
        tokens = [person.token(86400.0) for person in (*mine.people, admin)]
        connections = Connections(port, mine.tenant, mine.id)

        def make(random: Random) -> Requests:
            return Requests(document, random, Junk(random, ids), tokens)

        async def send(part: float) -> None:
            await _at_once(
                # Sockets of strangers know the victims' conversation as well.
                lambda: run.frames(connections, [*ids, victims.id], int(part * frames)),
                lambda: run.requests(make, int(part * requests)),
            )

        async with chatting(rest, victims) as chat:
            before = await run.held()
            await send(WARM_UP)
            warm = await run.held()
            await send(1.0)
            after = await run.settled(before)
        report = run.report
        report.grown = after.memory - warm.memory
        if report.grown > GROWTH:
            report.failures.append(f"grown by {report.grown / 2**20:.0f} MiB")
        conversation = (await rest.get(f"conversations/{mine.id}", mine.tenant)).body
        report.stored = conversation["last_seq"] - MESSAGES
        report.victims, report.p99 = len(chat.times), chat.p99
        report.failures += chat.failures + errors(server.log)
        server.terminate()
        code = await server.exit_code()
        if code:
            report.failures.append(f"exit code {code}")
    report.seconds = time.monotonic() - begun
    return report


def errors(log: str) -> list[str]:
    """The errors in the log, each kind once, with how many there were and the last one."""
    found: dict[str, list[str]] = {}
    for line in log.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            record = {"level": "error", "event": "no JSON", "exception": line}
        if record["level"] in ("error", "critical"):
            last_line = record.get("exception", "").rpartition("\n")[2][:200]
            kind = f"{record['event']} {last_line}"
            found.setdefault(kind, []).append(f"{record}"[-1500:])
    return [f"{len(lines)} in the log: {kind}: {lines[-1]}" for kind, lines in found.items()]


def _sum(metrics: str, name: str) -> int:
    """Of a metric over its labels."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([-+.\deE]+)$", metrics, re.MULTILINE)
    assert found, name
    return int(sum(map(float, found)))


@asynccontextmanager
async def _http() -> AsyncIterator[ClientSession]:
    async with ClientSession(
        connector=TCPConnector(limit=4 * WORKERS), timeout=ClientTimeout(total=60.0)
    ) as http:
        yield http


async def _at_once(*operations: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(operation() for operation in operations for _ in range(WORKERS)))
