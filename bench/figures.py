"""Single figures from the results: medians over the rounds, and ratios."""

from statistics import median
from typing import Any

Results = dict[str, Any]


def servers(results: Results) -> list[str]:
    """Return the servers that were measured, in the order of the table."""
    return [name for name, rounds in results["rounds"].items() if rounds]


def figure(results: Results, server: str, section: str, name: str) -> float | None:
    """The median over the rounds; None where it was not measured in every one.

    A server that is too slow for a rate in one round is too slow for it.
    """
    rounds = results["rounds"].get(server, [])
    found = [one[section][name] for one in rounds if section in one]
    return median(found) if found and len(found) == len(rounds) else None


def spread(results: Results, server: str, section: str, name: str) -> tuple[float, float]:
    """The smallest and the largest over the rounds."""
    found = [one[section][name] for one in results["rounds"][server] if section in one]
    return min(found), max(found)


def growth(points: list[dict[str, Any]]) -> dict[str, float]:
    """For each operation its p50 at the last point, as a multiple of that at the first."""
    if len(points) < 2:
        return {}
    first, last = points[0]["operations"], points[-1]["operations"]
    return {name: last[name]["p50"] / first[name]["p50"] for name in first}
