"""The results as Markdown tables, the same on the screen and in docs/performance.md."""

from collections.abc import Iterator, Sequence
from typing import Any

from bench import goals
from bench.figures import Results, figure, growth, servers

# Title, section, figure, by what it is divided, format.
Row = tuple[str, str, str, float, str]

ROWS: Sequence[Row] = (
    ("acknowledged messages/s", "throughput", "acknowledged", 1, ",.0f"),
    ("delivered messages/s (both people)", "throughput", "delivered", 1, ",.0f"),
    ("server CPU, µs for a message", "throughput", "server_cpu", 1, ",.0f"),
    ("PostgreSQL CPU, µs for a message", "throughput", "postgres_cpu", 1, ",.0f"),
    ("half of the best rate, messages/s", "half", "acknowledged", 1, ",.0f"),
    ("delivery there, p50, ms", "half", "delivery_p50", 1, ",.1f"),
    ("p99, ms", "half", "delivery_p99", 1, ",.1f"),
    ("p99.9, ms", "half", "delivery_p999", 1, ",.1f"),
    ("delivery at 1,000 messages/s, p50, ms", "common", "delivery_p50", 1, ",.1f"),
    ("p99, ms", "common", "delivery_p99", 1, ",.1f"),
    ("p99.9, ms", "common", "delivery_p999", 1, ",.1f"),
    ("server CPU there, µs for a message", "common", "server_cpu", 1, ",.0f"),
    ("PostgreSQL CPU there, µs for a message", "common", "postgres_cpu", 1, ",.0f"),
    ("one sender alone: acknowledged after, p50, ms", "alone", "acknowledgement_p50", 1, ",.2f"),
    ("p99, ms", "alone", "acknowledgement_p99", 1, ",.2f"),
    ("PostgreSQL CPU there, µs for a message", "alone", "postgres_cpu", 1, ",.0f"),
    ("messages that came in the wrong order", "order", "disordered", 1, ",.0f"),
    ("memory of an idle websocket, KiB", "sockets", "memory", 1024, ",.1f"),
    ("sockets opened/s", "sockets", "opened", 1, ",.0f"),
    ("server CPU, µs for a socket opened", "sockets", "server_cpu", 1, ",.0f"),
    ("published through Redis for a message", "fanout", "published", 1, ",.2f"),
    ("of that read by each node", "fanout", "handled", 1, ",.2f"),
    ("load generator at the best rate, % of a core", "throughput", "generator", 0.01, ",.0f"),
    ("its lateness at 1,000 messages/s, p99, ms", "common", "lag_p99", 1, ",.1f"),
)


def render(results: Results) -> str:
    """All tables for which there are figures."""
    parts = (_machine(results), *_servers(results), *_growths(results), _goals(results))
    return "\n\n".join(filter(None, parts))


def _machine(results: Results) -> str:
    machine, rounds = results["machine"], results["options"]
    return (
        f"{machine['date']}, commit {machine['commit']}: {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory']}; Python {machine['python']}, "
        f"Node.js {machine['node']}, PostgreSQL {machine['postgres']}. "
        f"Rounds: {rounds['rounds']}, of which the medians; "
        f"each load: {rounds['seconds']} s, {rounds['pairs']} pairs of people."
    )


def _servers(results: Results) -> Iterator[str]:
    names = servers(results)
    lines = []
    for title, section, name, unit, form in ROWS:
        values = [figure(results, server, section, name) for server in names]
        if any(value is not None for value in values):
            lines.append([title, *(_cell(value, unit, form) for value in values)])
    if lines:
        yield table(["", *names], lines)


def _cell(value: float | None, unit: float, form: str) -> str:
    return "–" if value is None else format(value / unit, form)


def _growths(results: Results) -> Iterator[str]:
    for key, title in (("stored", "messages"), ("conversations", "conversations")):
        points: list[dict[str, Any]] = results[key]
        if not points:
            continue
        heads = [f"{point[title]:,} {title}" for point in points]
        ratios = growth(points)
        lines = [
            [f"{name}, p50 / p95, ms"]
            + [f"{p['operations'][name]['p50']:.2f} / {p['operations'][name]['p95']:.2f}"
               for p in points]
            + ([f"{ratios[name]:.2f}"] if ratios else [])
            for name in points[0]["operations"]
        ]  # fmt: skip
        yield table(["", *heads, *(["last : first"] if ratios else [])], lines)


def _goals(results: Results) -> str:
    lines = [
        [goal.text, goal.measured, "yes" if goal.is_met else "**no**"]
        for goal in goals.decide(results)
    ]
    return table(["Goal", "Measured", "Reached"], lines) if lines else ""


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; all but the first are set to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]

    def row(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([first, *rest])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([row(heads), f"|{rule}|", *map(row, lines)])
