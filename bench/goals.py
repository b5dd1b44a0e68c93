"""What the server is meant to reach, decided by the figures of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Results, figure, growth

OURS, PEER = "chatserver", "node-plain"
TIMES_NODE = 3.0
SERVER_CPU = 120.0
POSTGRES_CPU = 60.0
SOCKET_BYTES = 20 * 1024
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Goal:
    text: str
    measured: str
    is_met: bool


def decide(results: Results) -> list[Goal]:
    """Those goals whose figures were measured."""
    return [goal for goal in _all(results) if goal is not None]


def _all(results: Results) -> Iterator[Goal | None]:
    yield _compare(
        results, "throughput", "acknowledged",
        f"acknowledged messages a second: at least {TIMES_NODE:g} times {PEER}",
        lambda ours, peer: (f"{ours / peer:.1f} times", ours >= TIMES_NODE * peer),
    )  # fmt: skip
    yield _compare(
        results, "common", "delivery_p99",
        f"delivery p99 at 1,000 messages a second: no worse than {PEER}",
        lambda ours, peer: (f"{ours:.1f} ms, {peer:.1f} ms there", ours <= peer),
    )  # fmt: skip
    yield _limit(
        results, "throughput", "server_cpu", SERVER_CPU, "server CPU for a message: {:.0f} µs"
    )
    yield _limit(
        results, "throughput", "postgres_cpu", POSTGRES_CPU,
        "PostgreSQL CPU for a message: {:.0f} µs",
    )  # fmt: skip
    yield _limit(
        results, "sockets", "memory", SOCKET_BYTES / 1024, "an idle websocket: {:.0f} KiB", 1024
    )
    for name, times in growth(results["stored"]).items():
        yield Goal(
            f"{name}, from the fewest to the most messages stored: at most {GROWTH:g} times",
            f"{times:.2f} times",
            times <= GROWTH,
        )


def _compare(
    results: Results,
    section: str,
    name: str,
    text: str,
    judge: Callable[[float, float], tuple[str, bool]],
) -> Goal | None:
    ours, peer = (figure(results, server, section, name) for server in (OURS, PEER))
    return None if ours is None or peer is None else Goal(text, *judge(ours, peer))


def _limit(
    results: Results, section: str, name: str, limit: float, text: str, unit: float = 1
) -> Goal | None:
    measured = figure(results, OURS, section, name)
    if measured is None:
        return None
    value = measured / unit
    return Goal(f"{text.format(limit)} or less", f"{value:.1f}", value <= limit)
