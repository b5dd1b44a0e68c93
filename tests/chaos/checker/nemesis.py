"""The nemesis: breaks links and processes by the plan, and in the end heals them all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.chaos.checker.blows import Blows
from tests.chaos.checker.histories import History
from tests.chaos.checker.plans import Plan
from tests.chaos.checker.servers import ServerFailed
from tests.chaos.checker.site import Link, Site
from tests.chaos.checker.strikes import Strike
from tests.kit.proxy import Proxy

# What the requests that are to be cut in two have in them: a device's message, and a
# message's text or the end of a transaction on the way to PostgreSQL (its beginning,
# BEGIN ISOLATION LEVEL READ COMMITTED, has the bare word, too).
DEVICE_NEEDLE = b"client_msg_id"
DATABASE_NEEDLES = (b"zq", b"COMMIT;")

LONGEST_DELAYS = {"link": 0.5, "database": 0.03, "redis": 0.3}


class Nemesis:
    """Strikes overlap, but each process is restarted by one at a time."""

    def __init__(self, plan: Plan, site: Site, history: History) -> None:
        self._plan = plan
        self._site = site
        self._history = history
        self._blows = Blows(plan, site)
        self._tasks: set[asyncio.Task[None]] = set()

    async def strike_all(self) -> None:
        """Each when its time has come; returns once all have begun."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for strike in self._plan.strikes:
            await asyncio.sleep(max(0.0, began + strike.at - loop.time()))
            task = asyncio.create_task(self._strike(strike))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def striking(self, strike: Strike) -> AsyncIterator[None]:
        """Break something while the body runs, and heal it."""
        self._history.figures[f"strike {strike.target_kind} {strike.kind}"] += 1
        blow = self._blows.striking if strike.target == "process" else self._striking_link
        try:
            async with blow(strike):
                yield
        except ServerFailed as error:
            self._history.complain(0, str(error))

    async def heal(self) -> None:
        """End all strikes; afterwards every process runs and every link passes."""
        self._blows.is_over = True
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._site.heal()
        for node in self._site.nodes:
            if not node.server.is_running:
                self._history.complain(0, "the server has ended by itself")
                await node.server.start(self._site.http)

    async def _strike(self, strike: Strike) -> None:
        try:
            async with self.striking(strike):
                await asyncio.sleep(strike.seconds)
        except Exception as error:
            self._history.complain(0, f"{strike} failed: {type(error).__name__}: {error}")
            raise

    def _link(self, strike: Strike) -> Proxy:
        node = self._site.nodes[strike.node]
        if strike.target == "database":
            return node.database
        if strike.target == "redis":
            assert node.redis is not None
            return node.redis
        return self._site.links[strike.target]

    @asynccontextmanager
    async def _striking_link(self, strike: Strike) -> AsyncIterator[None]:
        link = self._link(strike)
        needles: Sequence[bytes] = (DEVICE_NEEDLE,)
        if strike.target == "database":
            needles = DATABASE_NEEDLES
        needle = needles[int(strike.seconds * 1000) % len(needles)]
        match strike.kind:
            case "reset":
                link.reset()
            case "half_close" if isinstance(link, Link):
                link.half_close(by_client=strike.seconds < 1.5)
            case "blackhole":
                link.blackhole()
            case "refuse":
                link.refuse()
            case "deafen":
                link.hold_answers()
            case "deafen_connection":
                link.hold_answers(of_new=False)
            case "delay":
                link.delay(min(strike.seconds / 5, LONGEST_DELAYS[strike.target_kind]))
            case "cut_answer":
                link.cut_after(needle)
            case "cut_request":
                link.cut_before(needle)
        yield
        if strike.kind != "reset":
            link.heal()
