"""The nemesis: breaks links and processes by the plan, and in the end heals them all."""

import asyncio
from collections.abc import Sequence

from tests.checker.histories import History
from tests.checker.plans import Strike
from tests.checker.site import ServerFailed, Site

# What the requests that are to be cut in two have in them: a device's message, and a
# message's text or the end of a transaction on the way to PostgreSQL.
DEVICE_NEEDLE = b"client_msg_id"
DATABASE_NEEDLES = (b"zq", b"COMMIT")


class Nemesis:
    """Strikes overlap, but the processes are restarted one at a time."""

    def __init__(self, site: Site, history: History) -> None:
        self._site = site
        self._history = history
        self._tasks: set[asyncio.Task[None]] = set()
        self._processes = asyncio.Lock()
        self._is_over = False

    async def strike_all(self, strikes: Sequence[Strike]) -> None:
        """Each when its time has come; returns once all have begun."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for strike in strikes:
            await asyncio.sleep(max(0.0, began + strike.at - loop.time()))
            task = asyncio.create_task(self._strike(strike))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def heal(self) -> None:
        """End all strikes; afterwards every process runs and every link passes."""
        self._is_over = True
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._site.heal()
        if not self._site.server.is_running:
            self._history.complain(0, "the server has ended by itself")
            await self._site.server.start(self._site.http)

    async def _strike(self, strike: Strike) -> None:
        self._history.figures[f"strike {strike.target_kind} {strike.kind}"] += 1
        try:
            if strike.target == "process":
                async with self._processes:
                    await self._strike_process(strike)
            else:
                await self._strike_link(strike)
        except ServerFailed as error:
            self._history.complain(0, str(error))

    async def _strike_link(self, strike: Strike) -> None:
        site = self._site
        is_database = strike.target == "database"
        link = site.database_link if is_database else site.links[strike.target]
        needles = DATABASE_NEEDLES if is_database else (DEVICE_NEEDLE,)
        needle = needles[int(strike.seconds * 1000) % len(needles)]
        match strike.kind:
            case "reset":
                link.reset()
                return
            case "half_close":
                site.links[strike.target].half_close(by_client=strike.seconds < 1.5)
            case "blackhole":
                link.blackhole()
            case "refuse":
                link.refuse()
            case "delay":
                link.delay(min(strike.seconds / 5, 0.03 if is_database else 0.5))
            case "cut_answer":
                link.cut_after(needle)
            case "cut_request":
                link.cut_before(needle)
        await asyncio.sleep(strike.seconds)
        link.heal()

    async def _strike_process(self, strike: Strike) -> None:
        """Kill or stop it, wait, and have it back."""
        if self._is_over:
            return
        site, postgres = self._site, self._site.postgres
        if strike.kind == "kill_server":
            site.server.kill()
        elif strike.kind == "stop_server":
            await site.server.stop()
        elif postgres is None:
            return
        elif strike.kind == "restart_database":
            await asyncio.to_thread(postgres.restart)
            return
        else:
            await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(strike.seconds)
        if strike.kind == "crash_database" and postgres is not None:
            await asyncio.to_thread(postgres.start)
        else:
            await site.server.start(site.http)
