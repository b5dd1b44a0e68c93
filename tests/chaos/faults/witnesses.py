"""How long a CPU stood still while a test ran: so much more time its figures may take.

A machine that is shared gives its CPUs to others now and then, for seconds. What was
measured meanwhile says nothing of the product.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 0.05
"""Seconds that a witness sleeps at a time."""

LATE = 0.2
"""Seconds; whoever is woken so much later was not merely waiting for its turn."""

CPUS = 4
"""Of more of them there is no need: then one is free for everybody."""


class Witness(threading.Thread):
    """Sleeps for a moment again and again, on one CPU where that can be chosen."""

    def __init__(self, cpu: int | None = None) -> None:
        super().__init__(name=f"witness {cpu}", daemon=True)
        self.seconds = 0.0
        """By how much longer than asked it slept, where that was no trifle."""
        self._cpu = cpu
        self._is_over = threading.Event()

    def run(self) -> None:
        if self._cpu is not None:
            os.sched_setaffinity(0, {self._cpu})  # of this thread alone
        asleep_since = time.monotonic()
        while not self._is_over.wait(TICK):
            awake_since = time.monotonic()
            self.note(awake_since - asleep_since)
            asleep_since = awake_since

    def note(self, slept: float) -> None:
        if slept - TICK > LATE:
            self.seconds += slept - TICK

    def end(self) -> None:
        self._is_over.set()
        self.join()


_witnesses: list[Witness] = []


@contextmanager
def watching() -> Iterator[None]:
    """While the body runs, `stood_still` knows."""
    for cpu in _cpus():
        _witnesses.append(Witness(cpu))
        _witnesses[-1].start()
    try:
        yield
    finally:
        while _witnesses:
            _witnesses.pop().end()


def stood_still() -> float:
    """How many seconds a CPU stood still since the body of `watching` began; the worst one."""
    return max((each.seconds for each in _witnesses), default=0.0)


def _cpus() -> list[int | None]:
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return [*sorted(os.sched_getaffinity(0))[:CPUS]]
