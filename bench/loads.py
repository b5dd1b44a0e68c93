"""Loads on a server: as fast as it acknowledges, or at a fixed rate whatever it does."""

import asyncio
import math
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from bench.crowds import Crowd, Times
from bench.processes import Usage

WARM_UP = 2.0
TICK = 0.001
"""The schedule of a fixed rate is in whole milliseconds, as the loop's timers are."""


@dataclass(frozen=True, slots=True)
class Load:
    """Measured figures. Rates are per second, costs in µs of CPU for each acknowledged
    message, times in ms since the message was due; `generator` is its share of one core."""

    acknowledged: float
    delivered: float
    server_cpu: float
    postgres_cpu: float
    generator: float
    delivery_p50: float
    delivery_p99: float
    delivery_p999: float
    acknowledgement_p50: float
    acknowledgement_p99: float
    lag_p99: float


Meter = Callable[[], Usage]


@dataclass(slots=True)
class _Sample:
    at: float
    acknowledged: int
    delivered: int
    usage: Usage

    @classmethod
    def take(cls, crowd: Crowd, meter: Meter) -> "_Sample":
        usage = meter()
        both = crowd.delivered + crowd.copies
        return cls(time.perf_counter(), crowd.acknowledged, both, usage)


async def closed_loop(crowd: Crowd, meter: Meter, *, window: int, seconds: float) -> Load:
    """Each sender has `window` messages that are not acknowledged, all the time."""
    crowd.on_acknowledged = lambda index: crowd.send(index, time.perf_counter())
    for _ in range(window):
        for index in range(len(crowd.pairs)):
            crowd.send(index, time.perf_counter())
    return await _measured(crowd, meter, seconds, array("d"))


async def open_loop(crowd: Crowd, meter: Meter, *, rate: float, seconds: float) -> Load:
    """`rate` messages a second, of all senders in turn.

    Each has a time at which it is due. It is sent then or as soon after as can be, and
    its times count from when it was due: a server that stops for a second has that
    second in all messages that were due in it.
    """
    crowd.on_acknowledged = None
    lags = array("d")
    task = asyncio.create_task(_send_on_schedule(crowd, rate, lags))
    try:
        return await _measured(crowd, meter, seconds, lags, before_end=task.cancel)
    finally:
        task.cancel()


async def _send_on_schedule(crowd: Crowd, rate: float, lags: "array[float]") -> None:
    # The loop's timers fire at whole milliseconds of the same clock.
    start = math.ceil(time.perf_counter() / TICK) * TICK
    sent = 0
    while True:
        now = time.perf_counter()
        while (due := start + int(sent / rate / TICK) * TICK) <= now:
            crowd.send(sent % len(crowd.pairs), due)
            lags.append(time.perf_counter() - due)
            sent += 1
        await asyncio.sleep(max(due - time.perf_counter(), TICK / 10))


async def _measured(
    crowd: Crowd,
    meter: Meter,
    seconds: float,
    lags: "array[float]",
    before_end: Callable[[], object] = lambda: None,
) -> Load:
    """Measure for `seconds` after warming up; then wait for all that is on its way."""
    await asyncio.sleep(min(WARM_UP, seconds))
    crowd.times = Times()
    del lags[:]
    first = _Sample.take(crowd, meter)
    crowd.record_from = first.at
    await asyncio.sleep(seconds)
    last = _Sample.take(crowd, meter)
    crowd.on_acknowledged = None
    before_end()
    await crowd.settle()
    crowd.record_from = float("inf")
    return _load(crowd, first, last, lags)


def _load(crowd: Crowd, first: _Sample, last: _Sample, lags: "array[float]") -> Load:
    elapsed, used = last.at - first.at, last.usage - first.usage
    acknowledged = last.acknowledged - first.acknowledged
    per_message = 1e6 / max(acknowledged, 1)
    delivery, answers = sorted(crowd.times.delivery), sorted(crowd.times.acknowledgement)
    return Load(
        acknowledged=acknowledged / elapsed,
        delivered=(last.delivered - first.delivered) / elapsed,
        server_cpu=used.server * per_message,
        postgres_cpu=used.postgres * per_message,
        generator=used.generator / elapsed,
        delivery_p50=quantile(delivery, 0.5) * 1000,
        delivery_p99=quantile(delivery, 0.99) * 1000,
        delivery_p999=quantile(delivery, 0.999) * 1000,
        acknowledgement_p50=quantile(answers, 0.5) * 1000,
        acknowledgement_p99=quantile(answers, 0.99) * 1000,
        lag_p99=quantile(sorted(lags), 0.99) * 1000,
    )


def quantile(ordered: "list[float]", share: float) -> float:
    """The nearest-rank quantile of sorted values; 0 when there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
