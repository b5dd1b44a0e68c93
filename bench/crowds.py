"""People in pairs, all connected, and what becomes of each message that they send."""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.databases import VoidRun
from bench.dialects import Dialect, Kind, Person
from bench.sockets import Socket

AT_ONCE = 50
"""So many sockets are being opened at the same time."""

SETTLE_TIMEOUT = 60.0


@dataclass(slots=True, eq=False)
class Member:
    """A connected person; what they got: how many messages, the sum of their numbers, the last."""

    person: Person
    is_sender: bool
    socket: Socket | None = None
    got: int = 0
    seq_sum: int = 0
    last_seq: int = 0

    def send(self, payload: bytes) -> None:
        assert self.socket is not None
        self.socket.send(payload)


@dataclass(slots=True)
class Times:
    """Seconds since the message was due, of those that are being recorded."""

    acknowledgement: "array[float]" = field(default_factory=lambda: array("d"))
    delivery: "array[float]" = field(default_factory=lambda: array("d"))


class Crowd:
    """The first of each pair sends, the other receives.

    Counts acknowledgements, own copies and deliveries to the other; `times` records
    what was due after `record_from`. `on_acknowledged` is called with the index of
    the pair.
    """

    def __init__(self, dialect: Dialect, pairs: Sequence[tuple[Person, Person]]) -> None:
        self._dialect = dialect
        self.pairs = [(Member(one, True), Member(other, False)) for one, other in pairs]
        self.due = array("d")
        self.acknowledged = 0
        self.copies = 0
        self.delivered = 0
        self.disordered = 0
        self.times = Times()
        self.record_from = float("inf")
        self.on_acknowledged: Callable[[int], None] | None = None
        self.failure: VoidRun | None = None

    async def connect(self, port: int) -> None:
        """Connect everybody; returns when the server has welcomed all of them.

        Raises VoidRun when somebody is not let in.
        """
        limit = asyncio.Semaphore(AT_ONCE)
        members = [(member, index) for index, pair in enumerate(self.pairs) for member in pair]
        try:
            async with asyncio.TaskGroup() as group:
                for member, index in members:
                    group.create_task(self._connect(member, index, port, limit))
        except ExceptionGroup as errors:
            raise VoidRun(f"not connected: {errors.exceptions[0]!r}") from errors

    async def _connect(
        self, member: Member, index: int, port: int, limit: asyncio.Semaphore
    ) -> None:
        async with limit:
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            greeting = self._dialect.greeting(member.person)

            def welcome(payload: bytes) -> None:
                kind, _, _ = self._dialect.read(payload)
                assert member.socket is not None
                if kind == Kind.OPEN and greeting is not None:
                    member.socket.send(greeting)
                elif kind == Kind.READY and not ready.done():
                    ready.set_result(None)
                elif kind == Kind.REFUSED and not ready.done():
                    ready.set_exception(VoidRun(f"not let in: {payload[:200]!r}"))

            member.socket = await Socket.connect(port, self._dialect.path(member.person), welcome)
            if greeting is not None:
                async with asyncio.timeout(30):
                    await ready
            member.socket.receive = self._receiver(member, index)

    def send(self, index: int, due: float) -> None:
        """The sender of pair `index` sends the next message, which is or was due at `due`."""
        number = len(self.due)
        self.due.append(due)
        sender = self.pairs[index][0]
        sender.send(self._dialect.message(sender.person, number))

    async def settle(self) -> None:
        """Wait until all that was sent is acknowledged and with both; raises VoidRun."""
        deadline = time.perf_counter() + SETTLE_TIMEOUT
        while self.failure is None and not self._is_settled():
            if time.perf_counter() > deadline:
                break
            await asyncio.sleep(0.01)
        if self.failure is not None:
            raise self.failure
        self._check_received()

    def _is_settled(self) -> bool:
        return min(self.acknowledged, self.copies, self.delivered) >= len(self.due)

    def _check_received(self) -> None:
        """Both of each pair got every number from 1 on once, and nothing else was said."""
        if {self.acknowledged, self.copies, self.delivered} != {len(self.due)}:
            raise VoidRun(
                f"{len(self.due)} sent, but {self.acknowledged} acknowledged, "
                f"{self.copies} copies and {self.delivered} deliveries"
            )
        for pair in self.pairs:
            for member in pair:
                if member.seq_sum != member.got * (member.got + 1) // 2:
                    raise VoidRun("somebody got a message twice, or a wrong number")
            if pair[0].got != pair[1].got:
                raise VoidRun("the two of a conversation did not get the same")

    def close(self) -> None:
        for pair in self.pairs:
            for member in pair:
                if member.socket is not None:
                    member.socket.close()

    def _receiver(self, member: Member, index: int) -> Callable[[bytes], None]:
        """Return the reader of one socket's packets: the generator's inner loop."""
        read, due, now = self._dialect.read, self.due, time.perf_counter
        copy_acknowledges = self._dialect.copy_acknowledges

        def receive(payload: bytes) -> None:
            kind, number, seq = read(payload)
            if kind == Kind.MESSAGE:
                member.got += 1
                member.seq_sum += seq
                if seq < member.last_seq:
                    self.disordered += 1
                member.last_seq = seq
                if not member.is_sender:
                    self.delivered += 1
                    if due[number] >= self.record_from:
                        self.times.delivery.append(now() - due[number])
                    return
                self.copies += 1
                if copy_acknowledges:
                    self._acknowledge(index, number)
            elif kind == Kind.ACKNOWLEDGED:
                self._acknowledge(index, number)
            elif kind == Kind.PING:
                member.send(b"3")
            elif kind == Kind.REFUSED:
                self.failure = VoidRun(f"a message was refused: {payload[:300]!r}")

        return receive

    def _acknowledge(self, index: int, number: int) -> None:
        self.acknowledged += 1
        if self.due[number] >= self.record_from:
            self.times.acknowledgement.append(time.perf_counter() - self.due[number])
        if self.on_acknowledged is not None:
            self.on_acknowledged(index)
