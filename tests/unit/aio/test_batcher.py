"""Group commit, by itself: who is flushed with whom, and what becomes of those who went."""

import asyncio
import gc
import weakref
from collections.abc import Hashable, Sequence
from typing import Any

import pytest
import structlog

from chatserver.aio.batcher import Batcher
from chatserver.errors import NotFound, Unavailable

pytestmark = pytest.mark.virtual_time


class Flushes:
    """A flush that notes its batches; it waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.after: list[Sequence[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.after_failure: Exception | None = None

    async def flush(self, items: list[Any]) -> list[Any]:
        self.batches.append(items)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return [item if isinstance(item, Exception) else f"{item}!" for item in items]

    def publish(self, items: list[Any], results: Sequence[Any]) -> None:
        self.after.append(results)
        if self.after_failure:
            raise self.after_failure


def group(
    flushes: Flushes,
    *,
    max_batch: int = 100,
    max_waiting: int = 100,
    keyed: bool = False,
    turns: int = 0,
) -> Batcher[Any, Any]:
    def key(item: Any) -> Hashable | None:
        return str(item)[0] if keyed else None

    return Batcher(
        flushes.flush,
        key=key,
        linger=lambda: turns,
        after=flushes.publish,
        max_batch=max_batch,
        max_waiting=max_waiting,
        timeout=5,
    )


def submit(into: Batcher[Any, Any], *items: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(into.submit(item)) for item in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_item_is_flushed_at_once() -> None:
    flushes = Flushes()
    commit = group(flushes)
    for item in "abc":
        assert await commit.submit(item) == f"{item}!"
    assert flushes.batches == [["a"], ["b"], ["c"]]


async def test_while_one_flush_is_under_way_the_next_batch_gathers_in_order() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes, max_batch=3)
    tasks = submit(commit, *"abcdefg")
    await settle()
    assert flushes.batches == [["a", "b", "c"]]
    flushes.gate.set()
    assert await asyncio.gather(*tasks) == [f"{item}!" for item in "abcdefg"]
    assert [item for batch in flushes.batches for item in batch] == list("abcdefg")
    assert max(map(len, flushes.batches)) == 3
    assert len(flushes.batches) == 3


@pytest.mark.parametrize(
    ("turns", "batches"), [(0, [["a"], ["b"], ["c", "d"]]), (2, [["a"], ["b", "c", "d"]])]
)
async def test_what_comes_in_the_turns_between_two_batches_comes_along(
    turns: int, batches: list[list[str]]
) -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes, turns=turns)
    tasks = submit(commit, "a")
    await settle()
    flushes.gate.set()
    tasks += submit(commit, "b")
    await asyncio.sleep(0)  # The flush of "a" goes on; "b" waits.
    flushes.gate.clear()
    tasks += submit(commit, "c", "d")
    await settle()
    flushes.gate.set()
    await asyncio.gather(*tasks)
    assert flushes.batches == batches


async def test_a_lone_item_does_not_wait_for_turns_to_pass() -> None:
    flushes = Flushes()
    commit = group(flushes, turns=1000)
    submit(commit, "a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert flushes.batches == [["a"]]


async def test_one_flush_runs_at_a_time() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes)
    first = submit(commit, "a")
    await settle()
    second = submit(commit, "b", "c")
    await settle()
    assert flushes.batches == [["a"]]
    flushes.gate.set()
    await asyncio.gather(*first, *second)
    assert flushes.batches == [["a"], ["b", "c"]]


async def test_each_caller_gets_the_own_answer_or_exception() -> None:
    flushes = Flushes()
    tasks = submit(group(flushes), "a", NotFound(), "c")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[::2] == ["a!", "c!"]
    assert isinstance(results[1], NotFound)


async def test_a_flush_that_fails_fails_its_batch_and_not_the_next() -> None:
    flushes = Flushes()
    commit = group(flushes)
    flushes.failure = Unavailable()
    results = await asyncio.gather(*submit(commit, "a", "b"), return_exceptions=True)
    assert [type(each) for each in results] == [Unavailable, Unavailable]
    flushes.failure = None
    assert await commit.submit("c") == "c!"


async def test_items_with_the_same_key_wait_for_the_next_batch() -> None:
    flushes = Flushes()
    tasks = submit(group(flushes, keyed=True), "a1", "b1", "a2", "c1", "a3", "b2")
    await asyncio.gather(*tasks)
    assert flushes.batches == [["a1", "b1", "c1"], ["a2", "b2"], ["a3"]]


async def test_a_caller_who_went_before_the_flush_is_not_flushed() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes)
    first = submit(commit, "a")
    await settle()
    gone, stays = submit(commit, "gone", "stays")
    await settle()
    gone.cancel()
    flushes.gate.set()
    assert await stays == "stays!"
    await asyncio.gather(*first)
    assert flushes.batches == [["a"], ["stays"]]
    assert gone.cancelled()


async def test_a_caller_who_went_during_the_flush_is_flushed_and_told_of_once() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes)
    (task,) = submit(commit, "a")
    await settle()
    task.cancel()
    await settle()
    flushes.gate.set()
    await commit.drain()
    assert (flushes.batches, flushes.after) == ([["a"]], [["a!"]])
    assert task.cancelled()


async def test_too_many_waiting_are_refused_at_once_and_those_who_wait_are_served() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes, max_waiting=2)
    running = submit(commit, "a")
    await settle()
    waiting = submit(commit, "b", "c")
    await settle()
    with pytest.raises(Unavailable) as caught:
        await commit.submit("d")
    assert caught.value.retry_after == 1.0
    flushes.gate.set()
    assert await asyncio.gather(*running, *waiting) == ["a!", "b!", "c!"]
    assert await commit.submit("d") == "d!"


async def test_a_flush_that_takes_too_long_is_unavailable_and_the_next_one_waits_for_it() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    commit = group(flushes)
    tasks = submit(commit, "a")
    await settle()
    tasks += submit(commit, "b")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [Unavailable, Unavailable]
    flushes.gate.set()
    await commit.drain()
    assert flushes.batches == [["a"]]
    assert flushes.after == [["a!"]]
    assert await commit.submit("c") == "c!"


async def test_what_comes_after_may_fail_without_stopping_the_others() -> None:
    flushes = Flushes()
    commit = group(flushes, max_batch=1)
    flushes.after_failure = RuntimeError("a poison event")
    with structlog.testing.capture_logs() as logs:
        assert await asyncio.gather(*submit(commit, "a", "b")) == ["a!", "b!"]
        await commit.drain()
    assert [each["event"] for each in logs] == ["after_commit_failed"] * 2


async def test_after_is_called_when_the_callers_have_their_answers() -> None:
    """That is, when nothing can come between a caller and its answer any more."""
    answered: list[bool] = []
    flushes = Flushes()
    commit = group(flushes)
    tasks = submit(commit, "a")
    flushes.publish = lambda *_: answered.append(not tasks[0].done())  # type: ignore[method-assign]
    commit._after = flushes.publish
    await asyncio.gather(*tasks)
    await commit.drain()
    assert answered == [True]


async def test_draining_waits_for_all_and_ends_where_there_is_nothing() -> None:
    flushes = Flushes()
    commit = group(flushes, max_batch=1)
    await commit.drain()
    tasks = submit(commit, "a", "b", "c")
    await settle()
    await commit.drain()
    assert all(task.done() for task in tasks)


async def test_the_worker_is_in_nobodys_context() -> None:
    seen: list[dict[str, Any]] = []

    class Watching(Flushes):
        async def flush(self, items: list[Any]) -> list[Any]:
            seen.append(structlog.contextvars.get_contextvars())
            return await super().flush(items)

    structlog.contextvars.bind_contextvars(request_id="the first caller's")
    try:
        await group(Watching()).submit("a")
    finally:
        structlog.contextvars.clear_contextvars()
    assert seen == [{}]


async def test_nothing_is_kept_of_what_is_done() -> None:
    class Item:
        def __str__(self) -> str:
            return "item"

    flushes = Flushes()
    commit = group(flushes)
    item = Item()
    watched = weakref.ref(item)
    await commit.submit(item)
    await commit.drain()
    flushes.batches.clear()
    del item
    gc.collect()
    assert watched() is None


async def test_without_limits_any_number_waits_for_any_time() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    batcher = Batcher[str, str](flushes.flush, max_batch=100)
    callers = [asyncio.create_task(batcher.submit(str(number))) for number in range(250)]
    await asyncio.sleep(3600)
    flushes.gate.set()
    assert await asyncio.gather(*callers) == [f"{number}!" for number in range(250)]
    assert [len(batch) for batch in flushes.batches] == [100, 100, 50]
