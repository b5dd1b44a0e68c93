"""Nodes: which are alive, what all of them know how to keep, and the keys that they share."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.backplane.signatures import Key, Signatures
from chatserver.db.engine import Database, StatementRefused
from chatserver.errors import Unavailable
from chatserver.repositories import keys, nodes
from chatserver.repositories.keys import Purpose, StoredKey

VERSION: Final = 2
"""Rises with each promise that an older node would break. Nodes that say none have 0."""

SIGNED_BUS: Final = "signed_bus"
"""The promise that whatever nodes publish is signed, so that the rest may be refused."""

MEMBERS: Final = "members"
"""The promise that a conversation may have more members than a client and an owner."""

NEEDED: Final = {SIGNED_BUS: 1, MEMBERS: 2}
"""The version that nodes must have for each promise."""

TICK: Final = 1.0
INTERVAL: Final = 5.0
"""Seconds between two looks; when a key is missed, there is one with the next tick."""

ALIVE: Final = 20.0
"""Seconds for which a node that was seen counts as alive."""

SIGNS_AFTER: Final = 3 * INTERVAL
"""Seconds after which a new key signs: by then every node has it."""

LEAVE_TIMEOUT: Final = 1.0

OVERLAP: Final = 60.0
"""Seconds for which a key still verifies, once there is a newer one that signs."""


class Hearing(Protocol):
    """Interface of `backplane.redis_bus.RedisBus`: what it knows of other nodes."""

    node_id: UUID
    unsigned_at: float | None

    @property
    def is_receiving(self) -> bool: ...


class NodeService:
    """Says that this node is alive, and learns what changed."""

    def __init__(
        self,
        database: Database,
        signatures: Signatures,
        hearing: Hearing | None,
        *,
        version: int = VERSION,
    ) -> None:
        """`hearing` is None for a node that shares nothing: it needs no keys."""
        self.id = uuid4() if hearing is None else hearing.node_id
        self._database = database
        self._signatures = signatures
        self._hearing = hearing
        self._version = version
        self._looked_at = float("-inf")
        self._receiving_since: float | None = None
        self._on_gap: Callable[[float], None] = lambda since: None
        self._log = structlog.get_logger(__name__)

    def on_gap(self, on_gap: Callable[[float], None]) -> None:
        """`on_gap(since)`: what was published after `since` could not be believed."""
        self._on_gap = on_gap

    async def tick(self) -> None:
        """To be called every TICK seconds; a database that is away is asked again."""
        is_due = time.monotonic() - self._looked_at >= INTERVAL
        if is_due or self._signatures.misses_key:
            with suppress(Unavailable):
                await self.look()

    async def look(self) -> None:
        """Raises Unavailable when the database is away."""
        self._watch_hearing()
        async with self._database.transaction() as connection:
            await nodes.see(connection, self.id, self._version)
            promises = await nodes.list_promises(connection)
            if MEMBERS not in promises:
                await self._promise_members(connection)
            if self._hearing is not None:
                await self._learn_keys(connection)
                await self._learn_signing(connection, promises)
        self._looked_at = time.monotonic()

    async def leave(self) -> None:
        """This node ends; where the database cannot be told, the others find out."""
        with suppress(Unavailable, StatementRefused, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT), self._database.transaction() as connection:
                await nodes.forget(connection, self.id)

    async def _learn_keys(self, connection: AsyncConnection) -> None:
        stored = await keys.list_keys(connection, Purpose.BUS)
        if not stored:
            # Another node may do so at once: then there are two, and the first signs.
            await keys.make_key(connection, Purpose.BUS)
            stored = await keys.list_keys(connection, Purpose.BUS)
        usable, own = choose(stored)
        if self._signatures.learn(usable, own, stored[-1].read_at):
            self._on_gap(time.monotonic() - SIGNS_AFTER)

    async def _promise_members(self, connection: AsyncConnection) -> None:
        """Promise members once no older node is alive. One that says no version is the oldest."""
        if await nodes.get_oldest_version(connection, ALIVE) >= NEEDED[MEMBERS]:
            await nodes.keep_promise(connection, MEMBERS)
            self._log.info("members_promised")

    async def _learn_signing(self, connection: AsyncConnection, promises: set[str]) -> None:
        if SIGNED_BUS not in promises and self._hears_no_older():
            oldest = await nodes.get_oldest_version(connection, ALIVE)
            if oldest >= NEEDED[SIGNED_BUS]:
                await nodes.keep_promise(connection, SIGNED_BUS)
                promises.add(SIGNED_BUS)
        is_required = SIGNED_BUS in promises
        if is_required is not self._signatures.is_required:
            self._log.info("bus_signatures_required" if is_required else "bus_signatures_optional")
        self._signatures.is_required = is_required

    def _watch_hearing(self) -> None:
        hearing = self._hearing
        if hearing is None or not hearing.is_receiving:
            self._receiving_since = None
        elif self._receiving_since is None:
            self._receiving_since = time.monotonic()

    def _hears_no_older(self) -> bool:
        """Return whether it has received for so long that no node publishes without signing."""
        assert self._hearing is not None
        since, unsigned_at = self._receiving_since, self._hearing.unsigned_at
        if since is None:
            return False
        return time.monotonic() - max(since, unsigned_at or since) > ALIVE


def choose(stored: Sequence[StoredKey]) -> tuple[list[Key], int]:
    """The keys that verify, and the one that signs, of `stored`, the oldest first.

    The newest signs that all nodes have had time to read; until one is so old, the oldest.
    """
    old_enough = [key for key in stored if key.read_at - key.made_at >= SIGNS_AFTER]
    own = (old_enough or stored)[-1 if old_enough else 0]
    first = max(
        (key.id for key in stored if key.read_at - key.made_at >= SIGNS_AFTER + OVERLAP), default=0
    )
    return [Key(key.id, key.key) for key in stored if key.id >= first], own.id
