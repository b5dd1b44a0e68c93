"""One budget for each user and for each address: everything that they ask for is spent from it.

What carries a valid token is spent from its user's budget alone; an address pays only
for what has none. An edge spends before it does any work, and charges afterwards what
was not known before (`synced`, `listed`). All of it is synchronous and in memory; once
a second `settle` tells the other nodes.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Final, TypeVar
from uuid import UUID

import structlog

from chatserver.aio.caches import Cache
from chatserver.aio.fair_starts import WHOLE, FairStarts
from chatserver.backplane.buckets import Buckets, Refusal
from chatserver.backplane.redis_ledger import RedisLedger
from chatserver.errors import RateLimited
from chatserver.models import Principal, Role
from chatserver.services.sync import SyncResult
from chatserver.services.turns import AT_ONCE, Turns
from chatserver.settings import CostSettings, RateLimitSettings
from chatserver.telemetry.metrics import Metrics

SETTLE_INTERVAL: Final = 1.0

PROVEN_FOR: Final = 3600.0
"""Seconds for which an address from which a valid token came is not refused handshakes."""

MAX_PROVEN: Final = 50_000

LITTLE: Final = 0.05
"""The part of a budget that a user or an address has spent before their requests begin in
turns of the loop of their own."""

LOG_INTERVAL: Final = 10.0
MAX_LINES: Final = 10
"""So many users and addresses are named in the log in each LOG_INTERVAL."""

MAX_NAMES: Final = 1000
"""So many are counted for the log between two of its lines."""

_DETAIL: Final = "Too many requests in a short time."

USER: Final = "user"
ADDRESS: Final = "address"

_SERVICE: Final = Role.SERVICE  # looking it up in its class takes a while
_FIELDS: Final = {USER: "user_id", ADDRESS: "address"}

Key = TypeVar("Key", bound=Hashable)


class Budgets:
    """The budgets of all users and addresses, as one node knows them.

    Addresses are blocks (`chatserver.http.proxies.address_block`), or empty for what cannot
    be counted by its address.
    """

    def __init__(
        self,
        limits: RateLimitSettings,
        costs: CostSettings,
        metrics: Metrics,
        ledger: RedisLedger | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """An empty limit limits nothing."""
        self.costs = costs
        self._users = Buckets[int](limits.user, clock=clock) if limits.user else None
        self.turns = Turns(AT_ONCE if limits.user else None)
        self._addresses = Buckets[str](limits.address, clock=clock) if limits.address else None
        self._starts = FairStarts()
        self._proven = Cache[str, None](MAX_PROVEN, PROVEN_FOR, clock=clock)
        self._metrics = metrics
        self._ledger = ledger
        self._clock = clock
        self._logged_at = clock()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._half_spent: dict[tuple[str, str], None] = {}
        self._log = structlog.get_logger(__name__)

    @property
    def waiting(self) -> int:
        """Number of users and addresses whose requests wait for their turn to begin."""
        return len(self._starts)

    # Users

    def spend(self, principal: Principal, cost: float) -> None:
        """Spend from the user's budget. Raises RateLimited where nothing is left.

        The host's own service is not limited: it speaks for everybody.
        """
        if self._users is None or principal.role is _SERVICE:
            return
        # UUIDs hash and compare in Python, their numbers in C.
        refusal = self._users.spend(principal.user_id.int, cost)
        if refusal is not None:
            raise self._refuse(USER, str(principal.user_id), refusal)

    def charge(self, principal: Principal, cost: float) -> None:
        """Spend for what has been done, whether it is left or not."""
        if self._users is not None and principal.role is not Role.SERVICE:
            self._users.charge(principal.user_id.int, cost)

    def synced(self, principal: Principal, result: SyncResult) -> None:
        """Charge for the conversations and messages of an answer, and those looked through."""
        answered = sum(1 + len(one.changes or ()) for one in result.conversations)
        costs = self.costs
        self.charge(principal, answered * costs.sync_answered + result.known * costs.sync_known)

    def listed(self, principal: Principal, count: int) -> None:
        """Charge for what a page of a list holds."""
        self.charge(principal, count * self.costs.listed)

    async def start(self, principal: Principal) -> bool:
        """Wait for the turn of the loop in which a request of a user who spends much may begin.

        Whether it was waited for: the caller may have gone meanwhile.
        """
        key = principal.user_id.int
        if self._users is None or self._users.spent_part(key) <= LITTLE:
            return False
        return await self._starts.wait(key)

    # Addresses

    async def start_unproven(self, address: str) -> bool:
        """Like `start`, for a request from an address, whatever it carries.

        Of one that spends little a few begin in a turn.
        """
        if self._addresses is None or not address:
            return False
        is_spending = self._addresses.spent_part(address) > LITTLE
        return await self._starts.wait(address, WHOLE if is_spending else 1)

    def spend_unproven(self, address: str, cost: float) -> None:
        """Spend from the address' budget. Raises RateLimited where nothing is left."""
        if self._addresses is None or not address:
            return
        refusal = self._addresses.spend(address, cost)
        if refusal is not None:
            raise self._refuse(ADDRESS, address, refusal)

    def spend_handshake(self, address: str) -> None:
        """Like `spend_unproven`, for a handshake whose token is still to come.

        From an address where somebody has proven who they are it is never refused: they
        share it with whoever spends its budget. `prove` gives back what it cost.
        """
        if self._addresses is None or not address:
            return
        if address in self._proven:
            self._addresses.charge(address, self.costs.handshake)
        else:
            self.spend_unproven(address, self.costs.handshake)

    def prove(self, principal: Principal, address: str) -> None:
        """Move a handshake from the address to the user, whose token was valid.

        Raises RateLimited where the user has nothing left.
        """
        if self._addresses is not None and address:
            self._addresses.refund(address, self.costs.handshake)
            self._proven.put(address, None)
        self.spend(principal, self.costs.handshake)

    # With other nodes, and for the operator

    async def settle(self) -> None:
        """Tell the other nodes what was spent, and learn what they have spent."""
        if self._users is not None:
            await self._settle(USER, self._users, lambda key: str(UUID(int=key)))
        if self._addresses is not None:
            await self._settle(ADDRESS, self._addresses, str)
        now = self._clock()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            self._write_log()

    async def _settle(self, of: str, buckets: Buckets[Key], name: Callable[[Key], str]) -> None:
        if self._ledger is None:
            buckets.take_spent()
        elif not await self._ledger.settle(of, buckets):
            self._metrics.budget_fallback()
        self._metrics.budget_buckets(of, len(buckets))
        for key in buckets.take_half_spent():
            self._metrics.budget_half_spent(of)
            if len(self._half_spent) < MAX_LINES:
                self._half_spent[of, name(key)] = None

    def _refuse(self, of: str, name: str, refusal: Refusal) -> RateLimited:
        self._metrics.budget_refused(of)
        if len(self._refused) < MAX_NAMES or (of, name) in self._refused:
            self._refused[of, name] += 1
        # Rounded up: whoever waits for so long is not refused again.
        retry_after = math.ceil(refusal.retry_after * 10) / 10
        return RateLimited(_DETAIL, retry_after=retry_after, told_for=refusal.told_for)

    def _write_log(self) -> None:
        for of, name in self._half_spent:
            self._log.info("budget_half_spent", **{_FIELDS[of]: name})
        for (of, name), times in self._refused.most_common(MAX_LINES):
            self._log.warning("budget_spent", **{_FIELDS[of]: name}, refused=times)
        self._half_spent.clear()
        self._refused.clear()
