"""One run: everybody acts while things break, then all heals, and the promise is checked."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aiohttp import ClientSession

from chatserver.aio.tasks import end
from chatserver.dev.postgres import EmbeddedPostgres
from tests.chaos.checker import invariants, views
from tests.chaos.checker.backends import Service
from tests.chaos.checker.clients import API, Client, Keys
from tests.chaos.checker.departures import Departure
from tests.chaos.checker.devices import Device
from tests.chaos.checker.faults.planting import Fault
from tests.chaos.checker.histories import History, Violation
from tests.chaos.checker.levels import Levels
from tests.chaos.checker.measures import add_people, measure, people_http, warm_up, was_partitioned
from tests.chaos.checker.nemesis import Nemesis
from tests.chaos.checker.oracle import read_oracle
from tests.chaos.checker.plans import BY_BALANCER, TOKEN_TTL, DeviceSpec, Person, Plan
from tests.chaos.checker.presences import Presences
from tests.chaos.checker.replicas import Fetched
from tests.chaos.checker.results import Result, is_error
from tests.chaos.checker.servers import SECRET, ServerFailed
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.site import Site, running_site
from tests.chaos.checker.views import Fresh, Resources
from tests.chaos.checker.watches import Watch
from tests.chaos.checker.workloads import Workload

PATIENCE = 20.0
"""After the last fault some operation ends at least every so many seconds."""

SYNC_TIMEOUT = 60.0
"""Within this time after that every device is in sync; in a brief run, where that is
not so on purpose, it is not waited for that long."""

BRIEF_SYNC_TIMEOUT = 2.5

LEAVE_TIMEOUT = 20.0
BRIEF_LEAVE_TIMEOUT = 1.0

NOTHING: Mapping[str, Fault] = {}

PRESENCE, LEFT_OVER, END = 8, 10, 0
"""The invariants that are looked at once the people are done."""


class Run:
    """The parts of a run, put together for one plan on one site."""

    def __init__(
        self, plan: Plan, site: Site, http: ClientSession, sought: Mapping[str, Fault]
    ) -> None:
        self.plan = plan
        self.site = site
        self.http = http
        self.history = History()
        self.keys = Keys(SECRET, [])
        self.watch = Watch(self.history, {chat.number: chat for chat in plan.chats})
        self.devices = {
            spec.name: self._device(spec, number) for number, spec in enumerate(plan.devices)
        }
        service = Service(self._client(plan.service), self.history)
        self.workload = Workload(plan, self.devices, service, self.history, self.watch)
        self.departures = [
            Departure(
                leaver,
                self._client(leaver.person),
                self.history,
                self.watch,
                site.database_url,
                self.workload.chats,
            )
            for leaver in plan.leavers
        ]
        self.nemesis = Nemesis(plan, site, self.history)
        self.is_brief = bool(sought)
        self.levels = Levels(self.devices, site.database_url, self.history, is_brief=self.is_brief)
        self.healing = 0.0
        self._over = asyncio.Event()
        self._sought = dict(sought)
        self.history.on_violation = self._take_violation

    def _take_violation(self, violation: Violation) -> None:
        """A brief run is over when all that was sought is found."""
        found = [name for name, fault in self._sought.items() if fault.explains(violation)]
        for name in found:
            del self._sought[name]
        if found and not self._sought:
            self._over.set()

    @property
    def not_found(self) -> list[str]:
        """The faults that nothing was seen of, in a brief run."""
        return list(self._sought)

    @property
    def is_decided(self) -> bool:
        """Whether a brief run has found what it was looking for."""
        return self._over.is_set()

    def seeks(self, invariant: int) -> bool:
        """Whether it is worth while to look at this one: always, unless the run is brief."""
        left = self._sought.values()
        return not self.is_brief or any(invariant in fault.invariants for fault in left)

    def _device(self, spec: DeviceSpec, number: int) -> Device:
        """By its link, if it has one; one that knows its node asks by REST what users ask."""
        link = self.site.links.get(spec.name)
        client = self._client(spec.person)
        if link is not None:
            client.socket_port = link.port
            if spec.node == BY_BALANCER:
                client.port = link.port
        seed = self.plan.seed * 1000 + number
        device = Device(spec, client, self.history, self.watch, seed)
        if link is not None:
            device.move_on = link.move_on
        device.was_a_clock_ahead = lambda: self.site.was_a_clock_ahead
        client.on_text = lambda text: self.watch.text(device, text)
        return device

    def _client(self, person: Person, port: int | None = None) -> Client:
        """At the port that users know, or another."""
        return Client(
            self.http,
            port or self.site.port,
            person,
            self.keys,
            lambda _: None,
            ports=self.site.ports,
        )

    async def work(self) -> None:
        """The plan, and the time it takes to heal. A brief run ends when it is decided."""
        for device in self.devices.values():
            device.start()
        async with asyncio.timeout(SYNC_TIMEOUT):
            await self.workload.open_first()
        acting = asyncio.create_task(self._act())
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait([acting, over], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not acting.done():
            acting.cancel()
            await asyncio.wait([acting])
            await self.nemesis.heal()
        else:
            await acting

    async def _act(self) -> None:
        leaving = [asyncio.create_task(one.run()) for one in self.departures]
        try:
            if self.plan.is_in_turn:
                await self._act_in_turn()
            else:
                await asyncio.gather(self.workload.act(), self.nemesis.run_schedule())
            await self.nemesis.heal()
            await asyncio.gather(*leaving, *(one.check_refused() for one in self.departures))
        finally:
            await end(*leaving)
        began = time.monotonic()
        try:
            await self.workload.finish(PATIENCE)
            if self.plan.shape.faults == "none":
                await self.levels.check_live()
                if not await was_partitioned(self.site):
                    self.levels.check_received()
            else:
                await self.levels.check_found()
            self.healing = time.monotonic() - began
            self._let_newcomers_in()
            async with asyncio.timeout(BRIEF_SYNC_TIMEOUT if self.is_brief else SYNC_TIMEOUT):
                await self.levels.sync_all()
        except (TimeoutError, Lost):
            self.history.complain(
                0, f"not healed after {time.monotonic() - began:.1f} s: {self.workload.waiting()}, "
                f"not in sync: {self.levels.disconnected()}"
            )  # fmt: skip
            await self.leave()
        else:
            self.healing = time.monotonic() - began

    async def _act_in_turn(self) -> None:
        """Step by step; what breaks in a step is broken until all of it is done.

        Where nothing gets done any more it ends early: `finish` then says so.
        """
        plan = self.plan
        with suppress(TimeoutError):
            for number in sorted({action.at for action in plan.actions}):
                together = [action for action in plan.actions if action.at == number]
                async with AsyncExitStack() as stack:
                    for injection in plan.schedule:
                        if injection.at == number:
                            await stack.enter_async_context(self.nemesis.inject(injection))
                            stack.push_async_callback(asyncio.sleep, injection.seconds)
                    await self.workload.do_together(together, PATIENCE)

    def _let_newcomers_in(self) -> None:
        """Everybody takes out a new device, which has to get all of it from `sync`."""
        for number, person in enumerate(self.plan.people):
            spec = DeviceSpec(
                name=f"{person.name}/new",
                person=person,
                transport="websocket",
                receives=True,
                reports=False,
                page=2,
                interval=1.0,
                token_ttl=TOKEN_TTL,
            )
            device = self._device(spec, -number)
            self.devices[spec.name] = device
            device.start()

    async def leave(self) -> None:
        await self.workload.stop()
        for device in self.devices.values():
            await device.stop()

    # Judging

    async def judge(self) -> None:
        """Hold the database and the devices against the promise."""
        oracle, holders, history = (
            await read_oracle(self.site.database_url),
            self.levels.holders(),
            self.history,
        )
        fresh = {str(person.id): await self._fetch(person) for person in self.plan.people}
        for found in (
            invariants.check_stored(history, oracle),
            invariants.check_deletes(history, oracle),
            invariants.check_keys(oracle),
            invariants.check_numbers(oracle),
            invariants.check_logs(holders, oracle),
            invariants.check_real_time(history),
            invariants.check_cursors(history, oracle),
            views.check_unread(holders, fresh, oracle),
            views.check_views(holders, fresh),
            views.check_fetched(fresh, oracle),
            views.check_archived(history, oracle),
        ):
            self.history.complain_of(found)

    async def check_presence(self) -> None:
        """Half of the people leave for good. To be called last."""
        presences = Presences(
            self.plan.people, self.devices, self._client(self.plan.service), is_brief=self.is_brief
        )
        self.history.complain_of(await presences.check())

    async def _fetch(self, person: Person) -> Fresh:
        """Everything of a person, straight from one node or another."""
        number = self.plan.people.index(person)
        client = self._client(person, self.site.ports[number % len(self.site.ports)])
        chats = {}
        for view in await client.pages(f"{API}/conversations?archived=true&limit=7"):
            path = f"{API}/conversations/{view['id']}/messages?after_seq=0&limit=100"
            chats[view["id"]] = Fetched(view, await client.pages(path))
        total = await client.rest("GET", f"{API}/unread-count")
        if not total.is_ok:
            raise Lost
        return Fresh(chats, total.body["body"]["unread_count"])


async def run(
    plan: Plan,
    database_url: str,
    log: Path,
    *,
    postgres: EmbeddedPostgres | None = None,
    faults: Sequence[str] = (),
    sought: Mapping[str, Fault] = NOTHING,
    settings: Mapping[str, str] | None = None,
) -> Result:
    """Run `plan` on a migrated, empty database.

    `postgres` is the server to restart, where the plan asks for that. With `faults` the
    servers make these mistakes. With faults that are `sought` the run is brief: it looks
    at nothing else at the end, and it ends when all of them are found.
    """
    began = time.monotonic()
    await add_people(database_url, plan)
    async with running_site(
        database_url, plan, log, postgres=postgres, faults=faults, settings=settings
    ) as site:
        before = await warm_up(site, plan)
        async with people_http() as http:
            running = Run(plan, site, http, sought)
            try:
                await running.work()
                if not running.is_decided:
                    await running.judge()
                if running.seeks(PRESENCE):
                    await running.check_presence()
            finally:
                await running.leave()
        if running.seeks(LEFT_OVER):
            await site.end_balancer()
            await _check_left_over(running, before)
        if running.seeks(END):
            await _stop(running)
    text = await asyncio.to_thread(site.read_log)
    running.history.complain_of(views.check_log(text, running.keys.issued))
    errors = [line for line in text.splitlines() if is_error(line)]
    seconds = time.monotonic() - began
    return Result(
        plan, running.history, seconds, running.healing, site.starts, errors, running.not_found
    )


async def _check_left_over(running: Run, before: Sequence[Resources]) -> None:
    """Until nothing is left over, or too much time has passed."""
    limit = BRIEF_LEAVE_TIMEOUT if running.is_brief else LEAVE_TIMEOUT
    deadline = time.monotonic() + limit
    while True:
        pairs = zip(before, await measure(running.site), strict=True)
        found = [violation for pair in pairs for violation in views.check_resources(*pair)]
        if not found or time.monotonic() > deadline:
            running.history.complain_of(found)
            return
        await asyncio.sleep(0.2)


async def _stop(running: Run) -> None:
    """The servers end in order at last."""
    servers = [node.server for node in running.site.nodes]
    for ended in await asyncio.gather(*(one.stop() for one in servers), return_exceptions=True):
        if isinstance(ended, ServerFailed):
            running.history.complain(0, str(ended))
        elif ended is not None:
            raise ended
