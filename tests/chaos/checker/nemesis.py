"""The nemesis: breaks links and processes by the plan, and in the end heals them all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.chaos.checker.fault_schedules import Injection
from tests.chaos.checker.histories import History
from tests.chaos.checker.injections import Injections
from tests.chaos.checker.plans import Plan
from tests.chaos.checker.servers import ServerFailed
from tests.chaos.checker.site import Link, Site
from tests.kit.proxy import Proxy

# What the requests that are to be cut in two have in them: a device's message, and a
# message's text or the end of a transaction on the way to PostgreSQL (its beginning,
# BEGIN ISOLATION LEVEL READ COMMITTED, has the bare word, too).
DEVICE_NEEDLE = b"client_msg_id"
DATABASE_NEEDLES = (b"zq", b"COMMIT;")

LONGEST_DELAYS = {"link": 0.5, "database": 0.03, "redis": 0.3}


class Nemesis:
    """Injections overlap, but each process is restarted by one at a time."""

    def __init__(self, plan: Plan, site: Site, history: History) -> None:
        self._plan = plan
        self._site = site
        self._history = history
        self._injections = Injections(plan, site)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run_schedule(self) -> None:
        """Each when its time has come; returns once all have begun."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for injection in self._plan.schedule:
            await asyncio.sleep(max(0.0, began + injection.at - loop.time()))
            task = asyncio.create_task(self._run(injection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def inject(self, injection: Injection) -> AsyncIterator[None]:
        """Break something while the body runs, and heal it."""
        self._history.figures[f"injection {injection.target_kind} {injection.kind}"] += 1
        method = (
            self._injections.inject if injection.target == "process" else self._inject_into_link
        )
        try:
            async with method(injection):
                yield
        except ServerFailed as error:
            self._history.complain(0, str(error))

    async def heal(self) -> None:
        """End all injections; afterwards every process runs and every link passes."""
        self._injections.is_over = True
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._site.heal()
        for node in self._site.nodes:
            if not node.server.is_running:
                self._history.complain(0, "the server has ended by itself")
                await node.server.start(self._site.http)

    async def _run(self, injection: Injection) -> None:
        try:
            async with self.inject(injection):
                await asyncio.sleep(injection.seconds)
        except Exception as error:
            self._history.complain(0, f"{injection} failed: {type(error).__name__}: {error}")
            raise

    def _link(self, injection: Injection) -> Proxy:
        node = self._site.nodes[injection.node]
        if injection.target == "database":
            return node.database
        if injection.target == "redis":
            assert node.redis is not None
            return node.redis
        return self._site.links[injection.target]

    @asynccontextmanager
    async def _inject_into_link(self, injection: Injection) -> AsyncIterator[None]:
        link = self._link(injection)
        needles: Sequence[bytes] = (DEVICE_NEEDLE,)
        if injection.target == "database":
            needles = DATABASE_NEEDLES
        needle = needles[int(injection.seconds * 1000) % len(needles)]
        match injection.kind:
            case "reset":
                link.reset()
            case "half_close" if isinstance(link, Link):
                link.half_close(by_client=injection.seconds < 1.5)
            case "blackhole":
                link.blackhole()
            case "refuse":
                link.refuse()
            case "stop_receiving":
                link.hold_answers()
            case "stop_receiving_once":
                link.hold_answers(of_new=False)
            case "delay":
                link.delay(min(injection.seconds / 5, LONGEST_DELAYS[injection.target_kind]))
            case "cut_answer":
                link.cut_after(needle)
            case "cut_request":
                link.cut_before(needle)
        yield
        if injection.kind != "reset":
            link.heal()
