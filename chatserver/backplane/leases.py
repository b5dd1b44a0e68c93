"""Interface of presence to a backplane: leases of sockets, and each change once."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol
from uuid import UUID


class TooManyLeases(Exception):
    """The user holds as many leases of open sockets as they may."""


class Leases(Protocol):
    """Leases of live sockets: each ends by itself unless renewed.

    All durations are in seconds. A user is online while one of their leases lives.
    A change is handed to one caller, by `acquire` or `expire`, who tells of it and then
    calls `settle`. It may be handed out again if that does not come.
    """

    async def acquire(self, user_id: UUID, socket_id: str, ttl: float, cap: int = 0) -> bool:
        """Begin a lease; whether the user has just come online by it.

        Raises TooManyLeases if the user has `cap` open sockets already, however many
        ask at once; one that was shortened does not count. A cap of 0 is none.
        """

    async def renew(self, sockets: Iterable[tuple[UUID, str]], ttl: float) -> None:
        """Prolong the leases of open sockets; one that was lost or has ended lives again."""

    async def shorten(self, user_id: UUID, socket_id: str, grace: float) -> None:
        """Let the lease of a socket that has closed end after `grace`."""

    async def online(self, user_ids: Collection[UUID]) -> set[UUID]:
        """Return those of `user_ids` who are online."""

    async def expire(self) -> Sequence[UUID]:
        """End the leases that have run out: the users whose change is to be told now.

        Most of them are offline by that. Some have come back, or are handed out again.
        """

    async def settle(self, user_ids: Collection[UUID]) -> None:
        """The changes of these users that this node was handed have been told."""
