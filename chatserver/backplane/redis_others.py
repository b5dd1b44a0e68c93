"""Other nodes, as far as one of them hears of them on the bus."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

SILENT_AFTER: Final = 3.0
GAPS: Final = 2
FORGOTTEN_AFTER: Final = 20.0
"""Seconds without another node's heartbeat: it may have died before it published what it
had committed. That is looked for after 3 and again after 6 seconds. (One that lives, but
is cut off, says so in PostgreSQL.) At last it is forgotten."""

MAX_NODES: Final = 1000


class Other:
    """Another node."""

    __slots__ = ("dropped", "gaps", "heartbeat", "is_signing", "newest", "received_at")

    def __init__(self, newest: int) -> None:
        self.received_at = time.monotonic()
        self.newest = newest
        self.is_signing = False
        self.heartbeat = 0
        self.dropped = 0
        self.gaps = 0

    def takes(self, *, is_signed: bool) -> bool:
        """Return whether this node may have published that: once it signs, it signs everything."""
        self.is_signing = self.is_signing or is_signed
        return is_signed or not self.is_signing


class Others:
    """Other nodes that were heard recently, by their ids."""

    def __init__(self, on_gap: Callable[[float], None]) -> None:
        """`on_gap(since)`: messages may be missing that were published after `since`."""
        self.disordered = 0
        self._on_gap = on_gap
        self._nodes: dict[bytes, Other] = {}
        self._gone: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, node_id: bytes) -> Other:
        """The node; one that was not heard of yet begins to be now."""
        node = self._nodes.get(node_id)
        if node is None:
            if len(self._nodes) >= MAX_NODES:
                self.forget(next(iter(self._nodes)))
            # What it said before it was forgotten cannot be said once more.
            node = self._nodes[node_id] = Other(self._gone.pop(node_id, 0))
        return node

    def forget(self, node_id: bytes) -> None:
        node = self._nodes.pop(node_id, None)
        if node is not None:
            self._gone[node_id] = node.newest
            if len(self._gone) > MAX_NODES:
                del self._gone[next(iter(self._gone))]

    def watch(self, now: float) -> None:
        """Report a gap of those that are silent, and forget them in the end."""
        for node_id, node in list(self._nodes.items()):
            silence = now - node.received_at
            if silence > FORGOTTEN_AFTER:
                self.forget(node_id)
            elif silence > SILENT_AFTER * (node.gaps + 1) and node.gaps < GAPS:
                node.gaps += 1
                self._on_gap(node.received_at)

    def receive(self, node_id: bytes, heartbeat: Mapping[str, Any]) -> None:
        """Take a heartbeat, or a goodbye."""
        if heartbeat.get("bye"):
            self.forget(node_id)
            return
        node = self.get(node_id)
        dropped, number = heartbeat.get("given_up"), heartbeat.get("number")
        if isinstance(dropped, int) and dropped > node.dropped:
            self._on_gap(node.received_at)
            node.dropped = dropped
        if isinstance(number, int):
            self._compare(node, number)
        node.received_at = time.monotonic()
        node.gaps = 0

    def _compare(self, node: Other, number: int) -> None:
        """A heartbeat comes after all that its node published with lower numbers.

        Where that is not so, something was sent again, or one of the numbers was not the
        node's own, and then what it said since was taken for repeated.
        """
        if number <= node.heartbeat:
            self._on_gap(node.received_at)
            return
        node.heartbeat = number
        if node.newest > number:
            self.disordered += 1
            self._on_gap(node.received_at)
            node.newest = number
