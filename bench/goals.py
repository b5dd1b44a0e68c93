"""Goals of the server, decided by the figures of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.figures import Results, figure, growth

OURS, PEER, STOCK = "chatserver", "node-plain", "stock"
TIMES_NODE = 3.0
SERVER_CPU = 120.0
POSTGRES_CPU = 60.0
REDIS_CPU = 160.0
STOCK_CPU = 280.0
"""Cost of `stock` where the three above were set: as shares of it they hold on any machine."""
TWO_NODES = 1.6
FOUR_NODES = 1.2
SOCKET_BYTES = 8 * 1024
GROWTH = 1.5
OWN_P95 = 10.0
"""Milliseconds, for what reads all conversations of a user with very many."""


@dataclass(frozen=True, slots=True)
class Goal:
    text: str
    measured: str
    is_met: bool


def decide(results: Results) -> list[Goal]:
    """Return the goals whose figures were measured."""
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
    yield _share_of_stock(results, OURS, SERVER_CPU)
    yield _limit(
        results, "throughput", "postgres_cpu", POSTGRES_CPU,
        "PostgreSQL CPU for a message: {:.0f} µs",
    )  # fmt: skip
    yield _limit(
        results, "throughput", "server_cpu", REDIS_CPU, "the same with Redis: {:.0f} µs",
        server="nodes-1",
    )  # fmt: skip
    yield _share_of_stock(results, "nodes-1", REDIS_CPU)
    for many, few, times in (("nodes-2", OURS, TWO_NODES), ("nodes-4", "nodes-2", FOUR_NODES)):
        text = f"CPU of all nodes for a message: {many} at most {times:g} times {few}"
        yield _at_most(results, many, few, times, text)
    yield _limit(
        results, "sockets", "memory", SOCKET_BYTES / 1024, "an idle websocket: {:.0f} KiB", 1024
    )
    for name, times in growth(results["stored"]).items():
        yield Goal(
            f"{name}, from the fewest to the most messages stored: at most {GROWTH:g} times",
            f"{times:.2f} times",
            times <= GROWTH,
        )
    yield from _own(results["conversations"])


def _own(points: list[dict[str, Any]]) -> Iterator[Goal]:
    """Of the user with the most conversations."""
    for name in ("conversations", "sync") if points else ():
        p95 = points[-1]["operations"][name]["p95"]
        text = (
            f"{name}, of {points[-1]['conversations']:,} conversations: p95 {OWN_P95:g} ms or less"
        )
        yield Goal(text, f"{p95:.1f} ms", p95 <= OWN_P95)


def _share_of_stock(results: Results, server: str, limit: float) -> Goal | None:
    share = limit / STOCK_CPU
    text = f"server CPU for a message, {server}: at most {share:.2f} times {STOCK}"
    return _at_most(results, server, STOCK, share, text)


def _compare(
    results: Results,
    section: str,
    name: str,
    text: str,
    judge: Callable[[float, float], tuple[str, bool]],
    servers: tuple[str, str] = (OURS, PEER),
) -> Goal | None:
    one, other = (figure(results, server, section, name) for server in servers)
    return None if one is None or other is None else Goal(text, *judge(one, other))


def _at_most(results: Results, one: str, other: str, times: float, text: str) -> Goal | None:
    """The CPU for a message of all nodes of `one` against that of `other`."""
    return _compare(
        results, "throughput", "server_cpu", text,
        lambda ours, peer: (f"{ours / peer:.2f} times", ours <= times * peer),
        servers=(one, other),
    )  # fmt: skip


def _limit(
    results: Results,
    section: str,
    name: str,
    limit: float,
    text: str,
    unit: float = 1,
    server: str = OURS,
) -> Goal | None:
    measured = figure(results, server, section, name)
    if measured is None:
        return None
    value = measured / unit
    return Goal(f"{text.format(limit)} or less", f"{value:.1f}", value <= limit)
