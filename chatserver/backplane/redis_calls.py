"""Lua scripts on Redis that nobody ever waits for: short deadlines, batches, and a pause.

A key of a script lies in a shard: its hash tag is the shard's number, so all keys of one
call are on one node of a cluster. Scripts take the time from Redis: nodes' clocks may
differ.
"""

import asyncio
import hashlib
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from chatserver.aio.batcher import Batcher

Client = Redis | RedisCluster

TIMEOUT: Final = 0.25
PAUSE: Final = 1.0
CLUSTER_SHARDS: Final = 16
MAX_BATCH: Final = 200
"""So many items of a call keep Redis from others for about 1 ms."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class RedisAway(Exception):
    """Redis did not answer in time, or was not asked because it does not of late."""


class Script:
    """A Lua script. `now` is Redis' time in milliseconds."""

    def __init__(self, text: str) -> None:
        self.text = (
            "local t = redis.call('TIME')\n"
            "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n" + text
        )
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisCalls:
    """Calls that end within `timeout` seconds, with an answer or RedisAway.

    After a failure Redis is left alone for `pause` seconds, and for as long as
    `is_available` says no.
    """

    def __init__(
        self,
        client: Client,
        is_available: Callable[[], bool] = lambda: True,
        *,
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
    ) -> None:
        self._client = client
        self._is_available = is_available
        self._timeout = timeout
        self._pause = pause
        self._asked_again_at = 0.0
        self._log = structlog.get_logger(__name__)
        self._shards = CLUSTER_SHARDS if isinstance(client, RedisCluster) else 1

    @property
    def shards(self) -> range:
        """All shards: several where several Redis nodes can share the work."""
        return range(self._shards)

    def shard_of(self, name: str) -> int:
        """The shard of a user, the same on every node."""
        return zlib.crc32(name.encode()) % self._shards

    def batchers(
        self, send: Callable[[int, list[Item]], Awaitable[Sequence[Answer]]]
    ) -> Sequence[Batcher[Item, Answer]]:
        """One for each shard, so that neither a crowd needs many connections, nor each of
        it a command of its own. `send(shard, items)` answers the items in their order."""
        return [Batcher(partial(send, shard), max_batch=MAX_BATCH) for shard in self.shards]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """The script's answer. Raises RedisAway."""
        try:
            return await self.command("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.command("EVAL", script.text, len(keys), *keys, *args)

    async def command(self, *words: Any) -> Any:
        """The answer to a command. Raises RedisAway, and NoScriptError."""
        if not self._is_available() or time.monotonic() < self._asked_again_at:
            raise RedisAway
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.execute_command(*words)
        except NoScriptError:
            raise
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            self._asked_again_at = time.monotonic() + self._pause
            self._log.warning(
                "redis_call_failed", command=words[0], error=f"{type(error).__name__}: {error}"
            )
            raise RedisAway from error
