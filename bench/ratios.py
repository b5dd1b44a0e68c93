"""Ratios of what two servers cost in the same rounds: their median, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the rounds' ratios, and an interval that holds the true median with the
    probability `confidence`, whatever the ratios' distribution."""

    median: float
    low: float
    high: float
    confidence: float


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of pairs of figures, one pair for each round, ours divided by theirs.

    The interval is that of the sign test: from the k-th smallest ratio to the k-th largest,
    k as large as CONFIDENCE allows. Fewer than six rounds never reach that; the interval is
    then the whole range, and `confidence` says what it is worth.
    """
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    count = len(ratios)
    k = max((k for k in range(1, count // 2 + 1) if _coverage(count, k) >= CONFIDENCE), default=1)
    return Ratio(median(ratios), ratios[k - 1], ratios[-k], _coverage(count, k))


def _coverage(count: int, k: int) -> float:
    """Return the chance that the true median is between the k-th smallest and largest value."""
    outside = sum(comb(count, below) for below in range(k)) / 2**count
    return 1.0 - 2.0 * float(outside)
