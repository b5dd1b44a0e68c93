"""The cache: how much it holds, and for how long it is believed."""

from chatserver.aio.caches import Cache


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_put_is_believed_for_its_time_and_stale_after_that() -> None:
    clock = Clock()
    cache = Cache[str, int](10, 5.0, clock=clock)
    cache.put("a", 1)
    clock.now += 4.9
    assert ("a" in cache, cache.get("a"), cache.get_stale("a")) == (True, 1, 1)
    clock.now += 0.1
    assert ("a" in cache, cache.get("a"), cache.get_stale("a")) == (False, None, 1)
    cache.put("a", 2)
    assert cache.get("a") == 2


def test_nothing_may_be_put_as_well() -> None:
    cache = Cache[str, None](10)
    cache.put("a", None)
    assert "a" in cache
    assert "b" not in cache


def test_no_time_at_all_believes_nothing() -> None:
    cache = Cache[str, int](10, 0.0, clock=Clock())
    cache.put("a", 1)
    assert "a" not in cache


def test_the_one_that_was_put_longest_ago_goes_first() -> None:
    cache = Cache[str, int](3)
    for key in "abcad":
        cache.put(key, 1)
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]
    assert len(cache) == 3


def test_what_is_dropped_is_not_even_stale() -> None:
    cache = Cache[str, int](3)
    cache.put("a", 1)
    cache.drop("a")
    cache.drop("never put")
    assert cache.get_stale("a") is None
