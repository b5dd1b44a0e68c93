"""Counting on the path of a message: a dictionary now, a collector when somebody reads.

aioprometheus checks the labels of every increment, which took a fifth of all the time
that a message costs.
"""

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate

from aioprometheus.collectors import Counter, Gauge, Histogram
from aioprometheus.histogram import Histogram as Buckets


class BufferedCounter:
    """Values of a counter or a gauge by labels, put into the collector when it is read."""

    def __init__(self, collector: Counter | Gauge, *labels: str) -> None:
        self._collector = collector
        self._labels = labels
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        if not labels:
            self._counts[()] = 0  # An alarm sees the first one only if there was a zero before.

    def add(self, *values: str, amount: int = 1) -> None:
        """`values` are those of the labels, in their order."""
        self._counts[values] += amount

    def show(self) -> None:
        """Put what was counted into the collector."""
        for values, count in self._counts.items():
            self._collector.set(dict(zip(self._labels, values, strict=True)), count)


class BufferedHistogram:
    """Observations of a histogram by labels, put into the collector when it is read."""

    def __init__(self, collector: Histogram, *labels: str) -> None:
        self._collector = collector
        self._labels = labels
        self._bounds = list(collector.upper_bounds)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def observe(self, value: float, *values: str) -> None:
        """`values` are those of the labels, in their order."""
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * len(self._bounds)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[values] += value

    def show(self) -> None:
        """Put what was observed into the collector."""
        for values, counts in self._counts.items():
            buckets = Buckets(*self._bounds)
            buckets.buckets.update(zip(self._bounds, accumulate(counts), strict=True))
            buckets.observations = sum(counts)
            buckets.sum = self._sums[values]
            labels = dict(zip(self._labels, values, strict=True))
            self._collector.set_value(labels, buckets)
