"""One person with one device of the checker's, which writes by itself and is watched by a test."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession

from tests.chaos.checker.clients import Client, Keys
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import History, Known, Violation
from tests.chaos.checker.plans import TOKEN_TTL, DeviceSpec
from tests.chaos.checker.plans import Person as Somebody
from tests.chaos.checker.replicas import Chat as HeldChat
from tests.chaos.checker.replicas import Replica
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.watches import Named, Watch
from tests.chaos.faults.records import is_for_table
from tests.chaos.faults.sites import PATIENCE
from tests.kit.app import SECRET, Person
from tests.kit.clients import Chat

LOST = (OSError, ClientError, TimeoutError, Lost)
"""What may happen to anybody whose server is in trouble (OSError: refused, reset)."""


ANYTHING_ELSE = 0
"""The invariant of complaints that are none of a device's own: what was refused, for example."""


class Unwatched(Watch):
    """Others act for these people, too: what they were told says nothing of their devices."""

    def received(self, listener: Named, event: str, payload: Any) -> None: ...

    def saw(self, listener: Named, view: Any, began: Mapping[str, Known]) -> None: ...

    def synced(self, listener: Named, replica: Replica, began: Mapping[str, Known]) -> None: ...


class VirtualUser:
    """Stays connected to the first of `urls` that lets it, and in sync.

    `applied` has the moment at which each message of the conversation was applied, by
    seq; `away` how long each time without a connection in sync was, as (until, seconds).
    """

    def __init__(
        self,
        http: ClientSession,
        person: Person,
        chat: Chat,
        urls: Sequence[str],
        complain: Callable[[str], None],
    ) -> None:
        self.person = person
        self.chat = chat
        self.applied: dict[int, float] = {}
        self.away: list[tuple[float, float]] = []
        self._ports = deque(urlsplit(url).port or 0 for url in urls)
        self._lost_at = time.monotonic()

        def take(violation: Violation) -> None:
            if violation.invariant != ANYTHING_ELSE:
                complain(str(violation))

        history = History(on_violation=take)
        who = Somebody(str(person.id), person.id, person.role)
        spec = DeviceSpec(who.name, who, "websocket", True, False, 100, 1.0, TOKEN_TTL)
        client = Client(http, self._ports[0], who, Keys(SECRET, []), lambda _: None)
        self._device = Device(spec, client, history, Unwatched(history, {}), person.id.int,
                              10.0 if is_for_table() else PATIENCE)  # fmt: skip
        self._device.joined.add(chat.id)
        self._device.move_on = self._move_on
        self._device.on_change = self._note
        self._device.on_ready = self._note_ready
        self._device.start()

    @property
    def held(self) -> HeldChat | None:
        """The conversation as the device has it."""
        return self._device.replica.find(self.chat.id)

    @property
    def last_seq(self) -> int:
        return 0 if self.held is None else self.held.last_seq

    @property
    def is_ready(self) -> bool:
        """Whether it is connected and in sync since it is."""
        return self._device.is_synced

    async def wait_ready(self) -> None:
        while not self.is_ready:
            with suppress(Lost):
                await self._device.wait_ready()

    async def say(self, parts: dict[str, Any]) -> Any:
        """The acknowledgement; one of LOST when there is none."""
        await self.wait_ready()
        return (await self._device.client.send("socket", self.chat.id, parts)).body

    async def close(self) -> None:
        await self._device.stop()

    def _move_on(self) -> None:
        """To the next node."""
        self._ports.rotate(-1)
        self._device.client.port = self._device.client.socket_port = self._ports[0]

    def _note(self) -> None:
        for seq in range(len(self.applied) + 1, self.last_seq + 1):
            self.applied[seq] = time.monotonic()

    def _note_ready(self, is_ready: bool) -> None:
        now = time.monotonic()
        if is_ready:
            self.away.append((now, now - self._lost_at))
        else:
            self._lost_at = now
