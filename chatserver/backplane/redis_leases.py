"""Presence leases that all nodes share, on Redis; and what a node knows while it is away."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import count
from typing import Final, TypeVar
from uuid import UUID, uuid4

from chatserver.backplane.lease_scripts import (
    ACQUIRE,
    CLAIM,
    REFUSED,
    RENEW,
    RETELL,
    SETTLE,
    SHORTEN,
)
from chatserver.backplane.leases import TooManyLeases
from chatserver.backplane.memory import PresenceLeases
from chatserver.backplane.redis_calls import (
    MAX_BATCH,
    TIMEOUT,
    Client,
    RedisAway,
    RedisCalls,
)

Socket = tuple[UUID, str]
T = TypeVar("T")

CLAIM_TTL: Final = 10.0
"""For so long a change is left to the node that it was handed to, in seconds."""

RETURN_DELAY: Final = 5.0
"""So long after Redis is back those who came or went meanwhile are told about, in seconds:
the other nodes need a moment to say whose sockets they have."""


class RedisLeases:
    """The `Leases` of all nodes on one Redis, or Redis Cluster.

    Nobody waits for Redis longer than the deadline of `RedisCalls`. While it is away,
    the sockets of this node alone count. `expire` makes good afterwards: leases that
    Redis does not know are made again, and whoever came or went meanwhile is handed
    out to be told about once more.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        is_available: Callable[[], bool] = lambda: True,
        *,
        claim_ttl: float = CLAIM_TTL,
        return_delay: float = RETURN_DELAY,
        timeout: float = TIMEOUT,
    ) -> None:
        self._calls = RedisCalls(client, is_available, timeout=timeout)
        self._prefix = prefix
        self._claim_ttl = _milliseconds(claim_ttl)
        self._return_delay = _milliseconds(return_delay)
        self._local = PresenceLeases()
        self._node_id = uuid4()
        self._claims: dict[UUID, int] = {}
        self._claim_numbers = count(1)
        self._heard_claims: dict[int, int] = {}
        self._lives: dict[int, bytes] = {}
        self._seen: dict[int, bytes] = {}
        self._ttl = 0
        self._grace = 0.0
        self._must_restore = False
        self._unheard: set[UUID] = set()
        self._unended: dict[Socket, float] = {}
        self._acquiring = self._calls.batchers(self._send_acquire)
        self._shortening = self._calls.batchers(self._send_shorten)
        self._looking = self._calls.batchers(self._send_online)

    async def acquire(self, user_id: UUID, socket_id: str, ttl: float, cap: int = 0) -> bool:
        self._ttl = _milliseconds(ttl)
        self._local.check_cap(user_id, socket_id, cap)
        try:
            claim = await self._acquiring[self._shard(user_id)].submit((user_id, socket_id, cap))
        except RedisAway:
            is_first = await self._local.acquire(user_id, socket_id, ttl, cap)
            self._unheard.add(user_id)
            self._must_restore = True
            return is_first
        if claim == REFUSED:
            raise TooManyLeases
        await self._local.acquire(user_id, socket_id, ttl)
        if claim:
            self._claims[user_id] = claim
        return claim != 0

    async def renew(self, sockets: Iterable[Socket], ttl: float) -> None:
        self._ttl, sockets = _milliseconds(ttl), list(sockets)
        await self._local.renew(sockets, ttl)
        try:
            await self._renew(sockets)
        except RedisAway:
            self._must_restore = True

    async def shorten(self, user_id: UUID, socket_id: str, grace: float) -> None:
        self._grace = grace
        await self._local.shorten(user_id, socket_id, grace)
        item = (user_id, socket_id, _milliseconds(grace))
        try:
            await self._shortening[self._shard(user_id)].submit(item)
        except RedisAway:
            self._unended[user_id, socket_id] = time.monotonic()
            self._must_restore = True

    async def online(self, user_ids: Collection[UUID]) -> set[UUID]:
        """Like `Leases.online`. A user with an open socket here is online, whatever Redis says."""
        shards: dict[int, list[UUID]] = {}
        for user_id in user_ids:
            shards.setdefault(self._shard(user_id), []).append(user_id)
        try:
            found = await asyncio.gather(
                *(self._looking[shard].submit(users) for shard, users in shards.items())
            )
        except RedisAway:
            return await self._local.online(user_ids)
        here = {user_id for user_id in user_ids if self._local.count_open(user_id)}
        return here.union(*found)

    async def expire(self) -> Sequence[UUID]:
        claimed: list[UUID] = []
        try:
            for shard in self._calls.shards:
                claimed += await self._claim(shard)
            if self._must_restore or self._lives != self._seen:
                await self._restore()
        except RedisAway:
            gone = await self._local.expire()
            self._unheard.update(gone)
            self._forget_ended()
            return [*claimed, *gone]
        await self._local.expire()
        return claimed

    async def settle(self, user_ids: Collection[UUID]) -> None:
        claims = [
            (user_id, claim)
            for user_id in user_ids
            if (claim := self._claims.pop(user_id, None)) is not None
        ]
        try:
            for shard, items in self._by_shard(claims):
                await self._calls.run(SETTLE, self._shard_keys(shard), _flatten(items))
        except RedisAway:
            return  # Another node will tell once more.

    # What is sent

    async def _send_acquire(
        self, shard: int, items: Sequence[tuple[UUID, str, int]]
    ) -> Sequence[int]:
        """For each when its claim ends, 0 if the user was online, or REFUSED."""
        args = (arg for user, socket, cap in items for arg in (str(user), socket, cap))
        keys = self._keys(shard, [user for user, _, _ in items])
        answer: list[int] = await self._calls.run(
            ACQUIRE, keys, [self._ttl, self._claim_ttl, *args]
        )
        return answer

    async def _send_shorten(
        self, shard: int, items: Sequence[tuple[UUID, str, int]]
    ) -> Sequence[None]:
        args = (arg for user, socket, grace in items for arg in (str(user), socket, grace))
        await self._calls.run(SHORTEN, self._keys(shard, [user for user, _, _ in items]), [*args])
        return [None] * len(items)

    async def _send_online(self, shard: int, items: Sequence[list[UUID]]) -> Sequence[set[UUID]]:
        asked = {user_id: None for users in items for user_id in users}
        key = self._shard_keys(shard)[0]
        scores = await self._calls.command("ZMSCORE", key, *map(str, asked))
        online = {user for user, score in zip(asked, scores, strict=True) if score is not None}
        return [online.intersection(users) for users in items]

    async def _renew(self, sockets: Sequence[Socket]) -> None:
        for shard, items in self._by_shard(sockets):
            keys = self._keys(shard, [user for user, _ in items])
            known = self._lives.get(shard, b"")
            await self._calls.run(RENEW, keys, [self._ttl, known, *_flatten(items)])
        # One that closed meanwhile: Redis may have heard of its end before its renewal.
        closed = [each for each in sockets if not self._local.is_open(*each)]
        await asyncio.gather(*(self.shorten(*each, self._grace) for each in closed))

    async def _claim(self, shard: int) -> list[UUID]:
        """The changes of a shard that this node is to tell."""
        keys = self._shard_keys(shard)
        keys.append(f"{keys[0]}:handed:{self._node_id.hex}")
        claimed: list[UUID] = []
        while True:
            number, heard = next(self._claim_numbers), self._heard_claims.get(shard, 0)
            life, claim, *users = await self._calls.run(
                CLAIM, keys, [self._claim_ttl, MAX_BATCH, number, heard]
            )
            self._heard_claims[shard] = number
            self._seen[shard] = life
            batch = [UUID(user.decode()) for user in users]
            self._claims.update(dict.fromkeys(batch, claim))
            claimed += batch
            if len(users) < MAX_BATCH:
                return claimed

    # When Redis is back

    async def _restore(self) -> None:
        """Tell Redis all that it may have missed or lost. Raises RedisAway: to be repeated."""
        self._must_restore = False
        unended, unheard = list(self._unended), self._unheard.copy()
        seen = self._seen.copy()
        try:
            await self._renew(self._local.list_open())
            grace = _milliseconds(self._grace)
            for shard, closed in self._by_shard(unended):
                await self._send_shorten(shard, [(*socket, grace) for socket in closed])
            await self._retell(unheard.union(user_id for user_id, _ in unended))
        except RedisAway:
            self._must_restore = True
            raise
        for socket in unended:
            del self._unended[socket]
        self._unheard -= unheard
        self._lives = seen

    async def _retell(self, user_ids: Iterable[UUID]) -> None:
        """Have these users told about, once the other nodes have said whom they have."""
        for shard, items in self._by_shard((user_id, None) for user_id in user_ids):
            users = [str(user_id) for user_id, _ in items]
            await self._calls.run(RETELL, self._shard_keys(shard), [self._return_delay, *users])

    def _forget_ended(self) -> None:
        """Of a socket whose lease has run out by itself only the user matters any more."""
        oldest = time.monotonic() - self._ttl / 1000
        while self._unended:
            (user_id, socket_id), closed_at = next(iter(self._unended.items()))
            if closed_at > oldest:
                return
            del self._unended[user_id, socket_id]
            self._unheard.add(user_id)

    # Where it lies

    def _shard(self, user_id: UUID) -> int:
        return self._calls.shard_of(str(user_id))

    def _by_shard(
        self, items: Iterable[tuple[UUID, T]]
    ) -> Iterator[tuple[int, list[tuple[UUID, T]]]]:
        """The items, as many at a time as one call takes."""
        shards: dict[int, list[tuple[UUID, T]]] = {}
        for item in items:
            shards.setdefault(self._shard(item[0]), []).append(item)
        for shard, members in shards.items():
            for start in range(0, len(members), MAX_BATCH):
                yield shard, members[start : start + MAX_BATCH]

    def _shard_keys(self, shard: int) -> list[str]:
        base = f"{self._prefix}:presence:{{{shard}}}"
        return [base, f"{base}:untold", f"{base}:life"]

    def _keys(self, shard: int, user_ids: Iterable[UUID]) -> list[str]:
        keys = self._shard_keys(shard)
        return [*keys, *(f"{keys[0]}:{user_id}" for user_id in user_ids)]


def _flatten(items: Iterable[tuple[UUID, T]]) -> list[str | T]:
    return [word for user_id, value in items for word in (str(user_id), value)]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
