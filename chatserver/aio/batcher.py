"""One flush for many callers: while it is under way, the next batch gathers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

import structlog

from chatserver.aio.deadlines import Deadlines
from chatserver.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRY_AFTER = 1.0


def _no_key(_: Any) -> None:
    """Any two items may be in one batch."""


def _no_linger() -> int:
    """The next batch follows at once."""
    return 0


class Batcher(Generic[Item, Result]):
    """Collects items of concurrent callers and flushes them together, in order.

    A lone item is flushed at once: batching adds throughput, not latency. `flush`
    takes the items of a batch and answers, in the same order, a result or an
    exception for each; raising is the same answer for all of them. No two items of
    a batch have the same `key`: the later one waits for the next batch (None: no
    such limit for this item). One flush runs at a time, and between two of them
    `linger()` turns of the event loop pass, in which more may gather. `after` is
    called with the items and their results once the callers' tasks are about to go
    on. Should it raise, that is logged and the next batch follows.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        max_waiting: int | None = None,
        timeout: float | None = None,
        key: Callable[[Item], Hashable | None] = _no_key,
        linger: Callable[[], int] = _no_linger,
        after: Callable[[list[Item], Sequence[Result | Exception]], None] | None = None,
    ) -> None:
        """Without `max_waiting` and `timeout` (seconds) any number waits, for any time: for
        a `flush` that ends soon by itself."""
        self._flush = flush
        self._key = key
        self._linger = linger
        self._after = after
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._deadlines = None if timeout is None else Deadlines[Result](timeout)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    async def submit(self, item: Item) -> Result:
        """Flush `item` with its neighbours and answer its result.

        Raises what the flush answered for it, and Unavailable when too many wait
        or when `timeout` seconds have passed; then it may have happened or not.
        An item whose caller is gone before its flush begins is not flushed.
        """
        if self._max_waiting is not None and len(self._waiting) >= self._max_waiting:
            raise Unavailable("Too many requests wait for the database.", retry_after=RETRY_AFTER)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            # In no caller's context: its log records are about many of them.
            self._worker = asyncio.create_task(self._work(), context=Context())
        if self._deadlines is None:
            return await future
        try:
            return await self._deadlines.run(future)
        except TimeoutError:
            raise Unavailable(
                "The database did not answer in time.", retry_after=RETRY_AFTER
            ) from None

    async def drain(self) -> None:
        """Wait until nothing waits any more."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._flush_batch(batch)
                for _ in range(self._linger()):
                    await asyncio.sleep(0)
        finally:
            self._worker = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        keys: set[Hashable] = set()
        postponed: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_batch:
            entry = self._waiting.popleft()
            if entry[1].done():
                continue
            key = self._key(entry[0])
            if key is None:
                batch.append(entry)
            elif key in keys:
                postponed.append(entry)
            else:
                keys.add(key)
                batch.append(entry)
        self._waiting.extendleft(reversed(postponed))
        return batch

    async def _flush_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        results: Sequence[Result | Exception]
        try:
            results = await self._flush(items)
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._after is None:
            return
        try:
            self._after(items, results)
        except Exception:
            self._log.exception("after_commit_failed")
