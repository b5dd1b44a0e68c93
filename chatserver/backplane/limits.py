"""Interface of sending to a backplane: the rate limit of each user."""

from typing import Protocol
from uuid import UUID


class Limits(Protocol):
    """A limit for each user, in a window that slides."""

    async def hit(self, user_id: UUID) -> float | None:
        """Count one: None if that is within the limit, else after how many seconds it may be.

        What is refused does not count.
        """
