"""Invariant 8: whoever has a socket is online and nobody else is, for every node and in events."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tests.chaos.checker.clients import API, Client
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import Violation
from tests.chaos.checker.plans import Person
from tests.chaos.checker.sessions import Lost

PRESENT_TIMEOUT = 30.0
"""Within this time after everything is healed presence equals the truth. In a brief run,
where that is not so on purpose, it is not waited for that long."""

BRIEF_PRESENT_TIMEOUT = 7.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The people about whom a device is told on one of its connections: the so many-th.

    On another it would have to ask, for nothing is told again.
    """

    connection: int
    peers: set[str]


Watching = Mapping[Device, Watched]


class Presences:
    """`service` may ask for everybody's presence."""

    def __init__(
        self,
        people: Sequence[Person],
        devices: Mapping[str, Device],
        service: Client,
        *,
        is_brief: bool,
    ) -> None:
        self._people = people
        self._devices = devices
        self._service = service
        self._limit = BRIEF_PRESENT_TIMEOUT if is_brief else PRESENT_TIMEOUT

    async def check(self) -> list[Violation]:
        """Everybody is there; then half of the people leave for good, and the others hear it."""
        if found := await self._wait({}):
            return found
        leaving = set(self._people[::2])
        gone: list[Device] = []
        staying: list[Device] = []
        for device in self._devices.values():
            (gone if device.spec.person in leaving else staying).append(device)
        watching = {
            device: Watched(device.connections, await self._join(device)) for device in staying
        }
        for device in gone:
            await device.stop()
        return await self._wait(watching)

    async def _join(self, device: Device) -> set[str]:
        """Enter the rooms of the device's conversations: whom it receives of from now on."""
        peers: set[str] = set()
        for chat_id in device.joined:
            try:
                answer = await device.client.emit("join", {"conversation_id": chat_id})
            except Lost:
                return set()
            if answer.is_ok and chat_id in device.replica.chats:
                peers.update(device.replica.chats[chat_id].people)
        return peers - {device.user}

    async def _wait(self, watching: Watching) -> list[Violation]:
        """What is still wrong after the limit."""
        deadline = time.monotonic() + self._limit
        while found := [*await self._check_asked(), *self._check_told(watching)]:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
        return found

    def _is_online(self, person_id: UUID) -> bool:
        return any(
            device.client.is_connected
            for device in self._devices.values()
            if device.spec.person.id == person_id
        )

    async def _check_asked(self) -> list[Violation]:
        found = []
        for port in self._service.ports:
            for person in self._people:
                path = f"{API}/users/{person.id}/presence"
                expected = self._is_online(person.id)
                try:
                    answer = await self._service.rest("GET", path, port=port)
                except Lost:
                    found.append(Violation(0, f"the node at {port} does not answer"))
                    break
                said = answer.body["body"]["is_online"] if answer.is_ok else answer.code
                if said != expected:
                    what = f"the node at {port} says {said} of {person.name}, it is {expected}"
                    found.append(Violation(8, what))
        return found

    def _check_told(self, watching: Watching) -> Iterator[Violation]:
        """Those who have left since `watching` began are said to be offline."""
        for device, watched in watching.items():
            if device.connections != watched.connection:
                continue
            for peer in watched.peers:
                if not self._is_online(UUID(peer)) and device.told_online.get(peer, True):
                    yield Violation(
                        8, f"it was not told that {peer} has gone", device=device.spec.name
                    )
