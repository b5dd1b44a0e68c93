"""One run: everybody acts while things break, then all heals, and the promise is checked."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from chatserver.dev.postgres import EmbeddedPostgres
from tests.checker import invariants, views
from tests.checker.actors import Actors
from tests.checker.backends import Service
from tests.checker.devices import Device
from tests.checker.doors import API, Doors, Keys
from tests.checker.histories import History, Violation
from tests.checker.invariants import Holder
from tests.checker.measures import add_people, measure, people_http, warm_up
from tests.checker.nemesis import Nemesis
from tests.checker.plans import DeviceSpec, Person, Plan
from tests.checker.replicas import Fetched
from tests.checker.sessions import Lost
from tests.checker.site import SECRET, ServerFailed, Site, running_site
from tests.checker.truth import Truth, read_truth
from tests.checker.views import Fresh, Resources
from tests.checker.watches import Watch

PATIENCE = 20.0
"""After the last fault some operation ends at least every so many seconds."""

SYNC_TIMEOUT = 60.0
"""Within this time after that every device is in sync; in a brief run, where that is
not so on purpose, it is not waited for that long."""

BRIEF_SYNC_TIMEOUT = 2.5

LIVE_TIMEOUT = 4.0
LEAVE_TIMEOUT = 8.0
BRIEF_LEAVE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. `seconds` is all of it, `healing` the time until all was well
    again, `starts` how often the server was started."""

    plan: Plan
    history: History
    seconds: float
    healing: float
    starts: int

    @property
    def violations(self) -> list[Violation]:
        return self.history.violations


class Run:
    """The parts of a run, put together for one plan on one site."""

    def __init__(self, plan: Plan, site: Site, http: ClientSession, *, is_brief: bool) -> None:
        self.plan = plan
        self.site = site
        self.http = http
        self.history = History()
        self.keys = Keys(SECRET, [])
        self.watch = Watch(self.history, {chat.number: chat for chat in plan.chats})
        self.devices = {
            spec.name: self._device(spec, site.links[spec.name].port, number)
            for number, spec in enumerate(plan.devices)
        }
        service = Service(self._doors(plan.service, site.server.port, lambda _: None),
                          self.history)  # fmt: skip
        self.actors = Actors(plan, self.devices, service, self.history, self.watch)
        self.nemesis = Nemesis(site, self.history)
        self.healing = 0.0
        self._over = asyncio.Event()
        self.is_brief = is_brief
        if is_brief:
            self.history.on_violation = self._over.set

    @property
    def is_decided(self) -> bool:
        """Whether a brief run has found what it was looking for."""
        return self.is_brief and any(found.invariant for found in self.history.violations)

    def _device(self, spec: DeviceSpec, port: int, number: int) -> Device:
        doors = self._doors(spec.person, port, lambda _: None)
        seed = self.plan.seed * 1000 + number
        device = Device(spec, doors, self.history, self.watch, seed)
        doors.on_text = lambda text: self.watch.text(device, text)
        return device

    def _doors(self, person: Person, port: int, on_text: Callable[[str], None]) -> Doors:
        return Doors(self.http, port, person, self.keys, on_text)

    async def work(self) -> None:
        """The plan, and the time it takes to heal. In a brief run, until the first violation."""
        for device in self.devices.values():
            device.start()
        async with asyncio.timeout(SYNC_TIMEOUT):
            await self.actors.open_first()
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
        await asyncio.gather(self.actors.act(), self.nemesis.strike_all(self.plan.strikes))
        await self.nemesis.heal()
        began = time.monotonic()
        try:
            await self.actors.finish(PATIENCE)
            if self.plan.shape.faults == "none":
                await self._check_live()
            self.healing = time.monotonic() - began
            self._let_newcomers_in()
            async with asyncio.timeout(BRIEF_SYNC_TIMEOUT if self.is_brief else SYNC_TIMEOUT):
                await self._sync_all()
        except TimeoutError:
            self.history.complain(
                0, f"not healed after {time.monotonic() - began:.1f} s: {self.actors.waiting()}, "
                f"not in sync: {self._disconnected()}"
            )  # fmt: skip
            await self.leave()
        else:
            self.healing = time.monotonic() - began

    def _disconnected(self) -> list[str]:
        return [
            f"{name} ({device.condition()})"
            for name, device in self.devices.items()
            if not device.doors.is_connected or not device.is_synced
        ]

    async def _check_live(self) -> None:
        """Without a fault, whoever is connected knows it all without asking."""
        for device in self.devices.values():
            await device.wait_ready()
        holders = [holder for holder in self.holders() if self.devices[holder.name].spec.hears]
        deadline = time.monotonic() + LIVE_TIMEOUT
        found: list[Violation] = []
        while time.monotonic() < deadline:
            truth = await read_truth(self.site.database_url)
            found = [
                *invariants.check_logs(holders, truth),
                *views.check_told(holders, truth),
            ]
            if not found and all(self._is_level(holder, truth) for holder in holders):
                break
            await asyncio.sleep(0.1)
        self.complain(found)
        for device in self.devices.values():
            if device.spec.hears:
                device.check_heard()

    def _is_level(self, holder: Holder, truth: Truth) -> bool:
        return all(chat.rev >= truth.chats[chat.id].rev for chat in holder.replica.chats.values())

    def _let_newcomers_in(self) -> None:
        """Everybody takes out a new device, which has to get all of it from `sync`."""
        for number, person in enumerate(self.plan.people):
            spec = DeviceSpec(
                name=f"{person.name}/new",
                person=person,
                transport="websocket",
                hears=True,
                reports=False,
                page=2,
                interval=1.0,
                token_ttl=3600.0,
            )
            device = self._device(spec, self.site.server.port, -number)
            self.devices[spec.name] = device
            device.start()

    async def _sync_all(self) -> None:
        """Every device syncs until it knows all, and says what it holds; then once more,
        for what the others have said meanwhile."""
        while True:
            try:
                await asyncio.gather(*(device.sync() for device in self.devices.values()))
                truth = await read_truth(self.site.database_url)
                is_level = all(self._is_level(holder, truth) for holder in self.holders())
                if is_level and truth == await self._settled(truth):
                    return
            except Lost:
                pass
            await asyncio.sleep(0.1)

    async def _settled(self, truth: Truth) -> Truth:
        await asyncio.sleep(0.15)
        return await read_truth(self.site.database_url)

    def holders(self) -> list[Holder]:
        return [Holder(name, device.user, device.replica) for name, device in self.devices.items()]

    async def leave(self) -> None:
        await self.actors.stop()
        for device in self.devices.values():
            await device.stop()

    # Judging

    def complain(self, found: Iterable[Violation]) -> None:
        for violation in found:
            self.history.complain(
                violation.invariant,
                violation.what,
                chat=violation.chat,
                device=violation.device,
                evidence=violation.evidence,
            )

    async def judge(self) -> None:
        """Hold the database and the devices against the promise."""
        truth, holders, history = (
            await read_truth(self.site.database_url),
            self.holders(),
            self.history,
        )
        fresh = {str(person.id): await self._fetch(person) for person in self.plan.people}
        for found in (
            invariants.check_stored(history, truth),
            invariants.check_deletes(history, truth),
            invariants.check_keys(truth),
            invariants.check_numbers(truth),
            invariants.check_logs(holders, truth),
            invariants.check_real_time(history),
            invariants.check_cursors(history, truth),
            views.check_unread(holders, fresh, truth),
            views.check_views(holders, fresh),
            views.check_fetched(fresh, truth),
            views.check_archived(history, truth),
        ):
            self.complain(found)

    async def _fetch(self, person: Person) -> Fresh:
        """Everything of a person, straight from the server."""
        doors = self._doors(person, self.site.server.port, lambda _: None)
        chats = {}
        for view in await doors.pages(f"{API}/conversations?archived=true&limit=7"):
            path = f"{API}/conversations/{view['id']}/messages?after_seq=0&limit=100"
            chats[view["id"]] = Fetched(view, await doors.pages(path))
        total = await doors.rest("GET", f"{API}/unread-count")
        if not total.is_ok:
            raise Lost
        return Fresh(chats, total.body["body"]["unread_count"])


async def run(
    plan: Plan,
    database_url: str,
    log: Path,
    *,
    postgres: EmbeddedPostgres | None = None,
    fault: str = "none",
    is_brief: bool = False,
) -> Result:
    """Run `plan` on a migrated, empty database.

    `postgres` is the server to restart, where the plan asks for that. A brief run
    ends with the first violation.
    """
    began = time.monotonic()
    await add_people(database_url, plan)
    names = [device.name for device in plan.devices]
    async with running_site(database_url, names, log, postgres=postgres, fault=fault) as site:
        before = await warm_up(site, plan)
        async with people_http() as http:
            running = Run(plan, site, http, is_brief=is_brief)
            try:
                await running.work()
                if not running.is_decided:
                    await running.judge()
            finally:
                await running.leave()
        if not running.is_decided:
            await _check_left_over(running, before)
            await _stop(running)
    running.complain(views.check_log(await asyncio.to_thread(log.read_text), running.keys.issued))
    return Result(
        plan, running.history, time.monotonic() - began, running.healing, site.server.starts
    )


async def _check_left_over(running: Run, before: Resources) -> None:
    """Until nothing is left over, or too much time has passed."""
    limit = BRIEF_LEAVE_TIMEOUT if running.is_brief else LEAVE_TIMEOUT
    deadline = time.monotonic() + limit
    while True:
        found = list(views.check_resources(before, await measure(running.site)))
        if not found or time.monotonic() > deadline:
            running.complain(found)
            return
        await asyncio.sleep(0.2)


async def _stop(running: Run) -> None:
    """The server ends in order at last."""
    try:
        await running.site.server.stop()
    except ServerFailed as error:
        running.history.complain(0, str(error))
