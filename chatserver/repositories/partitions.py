"""The monthly partitions of messages."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_ENSURE = text("SELECT chat.ensure_message_partitions(:months_ahead)")
_STRAY = text("SELECT EXISTS (SELECT FROM chat.messages_default)")


async def ensure_partitions(connection: AsyncConnection, months_ahead: int = 3) -> int:
    """Make the partitions of this month and the next ones; how many were missing.

    Safe to run on several nodes at once. Fails with a lock timeout (0.3 s) rather
    than hold up those who write.
    """
    result = await connection.execute(_ENSURE, {"months_ahead": months_ahead})
    return int(result.scalar_one())


async def has_stray_messages(connection: AsyncConnection) -> bool:
    """Return whether the default partition caught messages, which it never should."""
    return bool((await connection.execute(_STRAY)).scalar_one())
