"""Whether the devices know what the database holds: by events alone, by hints, and by sync."""

import asyncio
import time
from collections.abc import Iterator, Mapping

from tests.chaos.checker import invariants, views
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import History, Violation
from tests.chaos.checker.invariants import Holder
from tests.chaos.checker.oracle import Oracle, read_oracle
from tests.chaos.checker.sessions import Lost

LIVE_TIMEOUT = 15.0
BRIEF_LIVE_TIMEOUT = 1.0
"""In a brief run, after the last change."""

FOUND_TIMEOUT = 15.0
"""Within this time after all is healed, devices have what they were not told meanwhile:
a hint of the server makes them ask. In a brief run, where that is not so on purpose,
it is not waited for that long."""

BRIEF_FOUND_TIMEOUT = 5.0


class Levels:
    """Waits until all devices are level with the database, and says which are not."""

    def __init__(
        self, devices: Mapping[str, Device], database_url: str, history: History, *, is_brief: bool
    ) -> None:
        self._devices = devices
        self._database_url = database_url
        self._history = history
        self._is_brief = is_brief

    def holders(self) -> list[Holder]:
        return [Holder(name, device.user, device.replica) for name, device in self._devices.items()]

    async def check_live(self) -> None:
        """Without a fault, whoever is connected knows it all without asking."""
        for device in self._devices.values():
            await device.wait_ready()
        holders = [holder for holder in self.holders() if self._devices[holder.name].spec.receives]
        limit = BRIEF_LIVE_TIMEOUT if self._is_brief else LIVE_TIMEOUT
        deadline = time.monotonic() + limit
        before: list[Violation] = []
        while time.monotonic() < deadline:
            oracle = await read_oracle(self._database_url)
            found = [
                *invariants.check_logs(holders, oracle),
                *views.check_told(holders, oracle),
            ]
            if not found and all(_is_level(holder, oracle) for holder in holders):
                break
            if self._is_brief and found != before:
                before, deadline = found, time.monotonic() + limit
            await asyncio.sleep(0.1)
        self._history.complain_of(found)

    def check_received(self) -> None:
        """Without a fault, and on nodes that heard each other all the while, everybody is told
        of everything."""
        for device in self._devices.values():
            if device.spec.receives:
                device.check_received()

    async def check_found(self) -> None:
        """After faults, whoever receives events is led to what it was not told, unasked."""
        limit = BRIEF_FOUND_TIMEOUT if self._is_brief else FOUND_TIMEOUT
        deadline = time.monotonic() + limit
        while found := list(self._check_found(await read_oracle(self._database_url))):
            if time.monotonic() > deadline:
                self._history.complain_of(found)
                return
            await asyncio.sleep(0.2)

    def _check_found(self, oracle: Oracle) -> Iterator[Violation]:
        for holder in self.holders():
            device = self._devices[holder.name]
            if not device.spec.receives:
                continue
            if not device.client.is_connected or not device.is_synced:
                yield Violation(0, f"not in sync again: {device.condition()}", device=holder.name)
                continue
            for row in oracle.chats.values():
                chat = holder.replica.chats.get(row.id)
                rev = chat.rev if chat else 0
                if holder.user in row.people and rev < row.rev:
                    journal = tuple(chat.journal)[-12:] if chat else ()
                    what = f"nothing leads it from rev {rev} to {row.rev}"
                    yield Violation(3, what, row.id, holder.name, journal)

    async def sync_all(self) -> None:
        """Every device syncs until it knows all, and says what it holds; then once more,
        for what the others have said meanwhile."""
        while True:
            try:
                await asyncio.gather(*(device.sync() for device in self._devices.values()))
                oracle = await read_oracle(self._database_url)
                is_level = all(_is_level(holder, oracle) for holder in self.holders())
                if is_level and oracle == await self._settled():
                    return
            except Lost:
                pass
            await asyncio.sleep(0.1)

    async def _settled(self) -> Oracle:
        await asyncio.sleep(0.15)
        return await read_oracle(self._database_url)

    def disconnected(self) -> list[str]:
        return [
            f"{name} ({device.condition()})"
            for name, device in self._devices.items()
            if not device.client.is_connected or not device.is_synced
        ]


def _is_level(holder: Holder, oracle: Oracle) -> bool:
    """One that is gone, which is complained of elsewhere, has nothing more to bring."""
    held = (chat for chat in holder.replica.chats.values() if chat.id in oracle.chats)
    return all(chat.rev >= oracle.chats[chat.id].rev for chat in held)
