"""Metrics of a node, read from its registry, and those that docs/operations.md lists."""

import re
from pathlib import Path

from aioprometheus.collectors import Histogram

import chatserver
from chatserver.telemetry.metrics import Metrics

OPERATIONS = Path(chatserver.__file__).parent.parent / "docs" / "operations.md"


def metric_names(metrics: Metrics) -> set[str]:
    return {collector.name for collector in metrics._registry.get_all()}


def counted_labels(metrics: Metrics) -> dict[str, set[str]]:
    """The labels of each metric that is counted as things happen, not set at a scrape."""
    return {counter._collector.name: set(counter._labels) for counter in metrics._buffered}


def sample_names(metrics: Metrics) -> dict[str, str]:
    """The metric of each name that a sample may have: a histogram's samples have three."""
    found: dict[str, str] = {}
    for collector in metrics._registry.get_all():
        is_histogram = isinstance(collector, Histogram)
        for suffix in ("_bucket", "_sum", "_count") if is_histogram else ("",):
            found[collector.name + suffix] = collector.name
    return found


def documented(heading: str, column: str) -> list[list[str]]:
    """The cells of each row of the table under a heading that begins with `column`."""
    manual = OPERATIONS.read_text("utf-8")
    section = re.split(r"^## ", manual.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    body = section.split(f"| {column} |")[1].split("\n\n")[0]
    rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("| `")]
    assert rows
    return [[cell.strip() for cell in row] for row in rows]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def documented_metrics() -> dict[str, set[str]]:
    """The labels of each; `;` parts those of several metrics of one row."""
    found: dict[str, set[str]] = {}
    for metrics, labels, *_ in documented("Metrics", "Name"):
        parts = labels.split(";")
        for place, name in enumerate(quoted(metrics)):
            assert name not in found
            found[name] = set(quoted(parts[place] if len(parts) > 1 else labels))
    return found
