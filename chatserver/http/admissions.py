"""Admission of connections: how many a node takes, in all and from each address."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Protocol

import structlog

SPARE: Final = 32
"""Connections beyond the limit that may show that they ask for a health check."""

PROBATION: Final = 2.0
"""Seconds that such a connection has for its request."""

LOG_INTERVAL: Final = 10.0

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz"})


class Reason(Enum):
    """Why a connection is not simply admitted."""

    ALL = "all"
    ADDRESS = "address"


class Candidate(Protocol):
    """A connection on probation."""

    def abort(self) -> None:
        """Close it at once."""


class Admissions:
    """Counts the connections of a node, in all and for each block of addresses.

    Those beyond a limit are on probation: such a connection has one request to show that
    it is a health check or, beyond the limit of its address, that it comes through a
    proxy which is not trusted, whose address says nothing about who is behind it. The
    newest SPARE of them are kept, since a balancer's check needs only a moment.

    `block_of` tells to what customer an address belongs, empty for one that is not
    counted; `is_proxy` whether a peer that sends X-Forwarded-For may be a proxy. Limits
    of 0 are none.
    """

    def __init__(
        self,
        *,
        most: int = 0,
        most_per_address: int = 0,
        block_of: Callable[[str | None], str] = lambda _: "",
        is_proxy: Callable[[str | None], bool] = lambda _: False,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.most = most
        self._most_per_address = most_per_address
        self._block_of = block_of
        self._is_proxy = is_proxy
        self._on_refused = on_refused
        self._open = 0
        self._blocks: Counter[str] = Counter()
        self._candidates: OrderedDict[Candidate, None] = OrderedDict()
        self._unlogged: Counter[str] = Counter()
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        """Number of open connections, without those on probation."""
        return self._open

    def begin(self, peer: str | None) -> "Admission":
        """A connection from `peer` has been accepted; `Admission.end` is called at its end."""
        block = self._block_of(peer)
        reason = None
        if 0 < self.most <= self._open:
            reason = Reason.ALL
        elif block and 0 < self._most_per_address <= self._blocks[block]:
            reason = Reason.ADDRESS
        admission = Admission(self, peer, block, reason)
        if reason is None:
            self.count(block)
        return admission

    def count(self, block: str) -> None:
        self._open += 1
        if block:
            self._blocks[block] += 1

    def discount(self, block: str) -> None:
        self._open -= 1
        if block:
            self._blocks[block] -= 1
            if not self._blocks[block]:
                del self._blocks[block]

    def try_out(self, candidate: Candidate) -> None:
        """Keep one on probation, instead of the oldest where there are too many."""
        self._candidates[candidate] = None
        if len(self._candidates) > SPARE:
            oldest, _ = self._candidates.popitem(last=False)
            oldest.abort()

    def forget(self, candidate: Candidate) -> None:
        self._candidates.pop(candidate, None)

    def admits(self, admission: "Admission", headers: Mapping[str, str]) -> bool:
        """Return whether a request shows that it comes through a proxy which is not trusted."""
        is_forwarded = "X-Forwarded-For" in headers and self._is_proxy(admission.peer)
        return admission.reason is Reason.ADDRESS and is_forwarded

    def refuse(self, reason: Reason) -> None:
        """Count one that is turned away, and say so in the log now and then."""
        self._on_refused(reason.value)
        self._unlogged[reason.value] += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            structlog.get_logger(__name__).error(
                "connections_refused",
                open=self._open,
                limit=self.most,
                limit_per_address=self._most_per_address,
                **{f"refused_{name}": count for name, count in self._unlogged.items()},
            )
            self._unlogged.clear()


class Admission:
    """Decision about one connection: `reason` is None for one that is admitted."""

    __slots__ = ("_admissions", "_block", "_is_served", "peer", "reason")

    def __init__(
        self, admissions: Admissions, peer: str | None, block: str, reason: Reason | None
    ) -> None:
        self._admissions = admissions
        self._block = block
        self._is_served = False
        self.peer = peer
        self.reason = reason

    def try_request(self, path: str, headers: Mapping[str, str]) -> bool:
        """Look at the first request of a connection on probation: whether it is served.

        One through an unknown proxy is admitted by it: `reason` is None from then on.
        """
        if path.partition("?")[0] in HEALTH_PATHS:
            self._is_served = True
            return True
        if self._admissions.admits(self, headers):
            self.reason, self._block = None, ""
            self._admissions.count(self._block)
            return True
        return False

    def end(self) -> None:
        """The connection is gone."""
        if self.reason is None:
            self._admissions.discount(self._block)
        elif not self._is_served:
            self._admissions.refuse(self.reason)
