"""How a mistake is made: patches on the application's classes, before the node is made."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import text

from chatserver.events import Event
from chatserver.realtime.publisher import SocketPublisher
from chatserver.repositories import appends
from tests.chaos.checker.histories import Violation


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake, and which of the invariants it breaks.

    `sign`: a pattern of what is then complained of, if nothing else is to count. `around`:
    what has to break for it to show, as in `tours`; `nodes`: how many there have to be.
    """

    plant: Callable[[], None]
    invariants: frozenset[int]
    sign: str = ""
    around: str = ""
    nodes: int = 1

    def explains(self, violation: Violation) -> bool:
        told = "\n".join((violation.what, *violation.evidence))
        return violation.invariant in self.invariants and bool(re.search(self.sign, told))


FAULTS: dict[str, Fault] = {}


def fault(
    *invariants: int, sign: str = "", around: str = "", nodes: int = 1
) -> Callable[[Callable[[], None]], None]:
    """Name a mistake after the function that makes it."""

    def register(plant: Callable[[], None]) -> None:
        FAULTS[plant.__name__] = Fault(plant, frozenset(invariants), sign, around, nodes)

    return register


def every(number: int) -> Callable[[], bool]:
    """Something to ask again and again: true each so many-th time."""
    calls = count(1)
    return lambda: next(calls) % number == 0


def patch(owner: Any, name: str, value: Any) -> None:
    """Put `value` in the place of something that is there."""
    assert hasattr(owner, name)
    setattr(owner, name, value)


def in_append(*changes: tuple[str, str]) -> None:
    """Change the statement that appends messages."""
    for before, after in changes:
        assert before in appends._APPEND
        patch(appends, "_APPEND", appends._APPEND.replace(before, after, 1))


def in_text(module: Any, name: str, before: str, after: str) -> None:
    """Change another statement."""
    statement = str(getattr(module, name).text)
    assert before in statement
    patch(module, name, text(statement.replace(before, after)))


def before_sending(change: Callable[[SocketPublisher, Event], Sequence[Event]]) -> None:
    """Have `change` say what is sent to the sockets in the place of an event."""
    send = SocketPublisher._send

    def send_changed(self: SocketPublisher, event: Event) -> None:
        for changed in change(self, event):
            send(self, changed)

    patch(SocketPublisher, "_send", send_changed)
