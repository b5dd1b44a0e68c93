"""What a run found, in words and as a table."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.checker.histories import History, Outcome
from tests.chaos.checker.results import Result

LONGEST, MOST = 3000, 10
"""Of what servers logged as an error, so much is shown beside violations."""

LOST, DOUBLED, OUT_OF_ORDER, LEAKED = (1,), (2,), (3, 4), (5,)


def sends(history: History, outcome: Outcome) -> int:
    return sum(write.kind == "send" and write.outcome is outcome for write in history.writes)


def describe(result: Result) -> str:
    """Everything about one run: the operations by outcome, the injections, the violations."""
    history = result.history
    lines = [
        f"seed {result.plan.seed}, plan {result.plan.fingerprint()}, "
        f"nodes {result.plan.shape.nodes}: "
        f"{result.seconds:.1f} s, healed in {result.healing:.1f} s",
        *_table(("operation", "outcome", "code", "count"), _operations(history)),
        *_table(("also", "count"), sorted(history.figures.items())),
        _latency(history),
        f"{len(result.violations)} violations",
        *map(str, result.violations),
    ]
    if result.violations:
        lines += [f"logged: {line[:LONGEST]}" for line in result.errors[:MOST]]
    return "\n".join(lines)


def _operations(history: History) -> list[tuple[str, str, str, int]]:
    counts = Counter(history.counts)
    for write in history.writes:
        if write.kind == "send" and write.outcome is not None:
            counts[write.kind, write.outcome, write.code] += 1
    return [(*key, count) for key, count in sorted(counts.items())]


def _latency(history: History) -> str:
    times = sorted(history.latencies)
    if not times:
        return "no send was acknowledged"
    return (
        f"from a send's first attempt to its acknowledgement: p50 {_quantile(times, 0.5):.3f} s, "
        f"p99 {_quantile(times, 0.99):.3f} s, at most {times[-1]:.3f} s"
    )


def _quantile(times: Sequence[float], share: float) -> float:
    return times[min(int(share * len(times)), len(times) - 1)]


HEAD = (
    "seed", "plan", "nodes", "acknowledged", "refused", "unknown", "injections", "server starts",
    "healed in", "lost", "doubled", "out of order", "leaked", "other",
)  # fmt: skip


def table_head() -> str:
    """The head of a table in Markdown, with a line for each run."""
    return f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}"


def table_row(result: Result) -> str:
    return f"| {' | '.join(map(str, _row(result)))} |"


def table_total(results: Sequence[Result]) -> str:
    rows = [_row(result) for result in results]
    sums = [sum(int(row[column]) for row in rows) for column in (*range(3, 8), *range(9, 14))]
    healing = max(result.healing for result in results)
    cells = ("all", f"{len(rows)} seeds", rows[0][2], *sums[:5], f"≤ {healing:.1f} s", *sums[5:])
    return f"| {' | '.join(map(str, cells))} |"


def _row(result: Result) -> tuple[str | int, ...]:
    history = result.history
    found = Counter(violation.invariant for violation in result.violations)
    named = (LOST, DOUBLED, OUT_OF_ORDER, LEAKED)
    counts = [sum(found[number] for number in numbers) for numbers in named]
    return (
        result.plan.seed,
        result.plan.fingerprint(),
        result.plan.shape.nodes,
        *(sends(history, outcome) for outcome in Outcome),
        len(result.plan.schedule),
        result.starts,
        f"{result.healing:.1f} s",
        *counts,
        len(result.violations) - sum(counts),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns that line up."""
    cells = [tuple(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
