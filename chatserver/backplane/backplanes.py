"""The backplane of a node: its own memory, or what it shares with others through Redis."""

from dataclasses import dataclass, field
from typing import Self

from chatserver.backplane.leases import Leases
from chatserver.backplane.limits import Limits
from chatserver.backplane.memory import PresenceLeases, RateLimits
from chatserver.backplane.redis_bus import RedisBus
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.backplane.redis_ledger import RedisLedger
from chatserver.backplane.redis_limits import RedisRateLimits
from chatserver.backplane.redis_links import RedisLinks
from chatserver.backplane.signatures import Signatures
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Backplane:
    """`limits` is for messages, `openings` for conversations. `bus`, `links` and `ledger`
    are None for a node alone. `signatures` are for the bus.
    """

    leases: Leases
    limits: Limits
    openings: Limits
    bus: RedisBus | None = None
    links: RedisLinks | None = None
    ledger: RedisLedger | None = None
    signatures: Signatures = field(default_factory=Signatures)

    @classmethod
    def create(cls, settings: Settings, metrics: Metrics) -> Self:
        """The one that `settings` ask for; connected to nobody yet.

        Raises ValueError for a URL of Redis that cannot be used.
        """
        limit = settings.rate_limit
        if not settings.redis.url:
            return cls(
                PresenceLeases(), RateLimits(limit.messages), RateLimits(limit.conversations)
            )
        prefix = settings.redis.prefix
        links = RedisLinks(settings.redis.url)
        signatures = Signatures()
        bus = RedisBus(links.connect, prefix, signatures)

        def is_available() -> bool:
            return bus.is_receiving

        return cls(
            RedisLeases(links.client, prefix, is_available),
            RedisRateLimits(limit.messages, links.client, prefix, metrics, is_available),
            RedisRateLimits(
                limit.conversations, links.client, f"{prefix}:openings", metrics, is_available
            ),
            bus,
            links,
            RedisLedger(links.client, prefix, is_available),
            signatures,
        )

    async def is_ready(self) -> bool:
        """True while this node receives what others publish; a node alone always does."""
        return self.bus is None or self.bus.is_receiving

    def has_others(self) -> bool:
        """True if other nodes share this backplane just now, as far as this one receives them."""
        return self.bus is not None and self.bus.has_others

    async def close(self) -> None:
        if self.bus is not None:
            await self.bus.close()
        if self.links is not None:
            await self.links.close()
