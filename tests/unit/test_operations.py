"""docs/operations.md and the code name the same metrics and the same log events."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatserver
from chatserver.telemetry.metrics import Metrics
from tests.kit.metrics import (
    counted_labels,
    documented,
    documented_metrics,
    metric_names,
    quoted,
)

PACKAGE = Path(chatserver.__file__).parent

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
LOGGERS = re.compile(r"(\b|_)(log|logger)$|^structlog\.get_logger\(|^logging\.getLogger\(")
EVENT = re.compile(r"[a-z]+(_[a-z]+)*")


def test_each_metric_stands_in_the_manual_with_its_labels_and_no_other_does() -> None:
    metrics, labels = Metrics(), documented_metrics()
    assert labels.keys() == metric_names(metrics)
    counted = counted_labels(metrics)
    assert {name: labels[name] for name in counted} == counted


def logged(source: str) -> Iterator[tuple[str, str]]:
    """Each event that is logged in `source`, with its level."""
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in LEVELS:
            continue
        if not LOGGERS.search(ast.unparse(node.value)):
            continue
        assert id(node) in calls, f"line {node.lineno}: call the logger where the event is named"
        event = calls[id(node)].args[1 if node.attr == "log" else 0]
        choices = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
        for choice in choices:
            assert isinstance(choice, ast.Constant), f"line {node.lineno}: no name of an event"
            yield str(choice.value), "error" if node.attr == "exception" else node.attr


def events_of_the_code() -> dict[str, set[str]]:
    """The levels of each event; `log` where the level depends."""
    found: dict[str, set[str]] = {}
    passing_on = PACKAGE / "telemetry" / "logs.py"
    for path in set(PACKAGE.rglob("*.py")) - {passing_on}:
        for event, level in logged(path.read_text("utf-8")):
            found.setdefault(event, set()).add(level)
    return found


def test_each_log_event_stands_in_the_manual_with_its_level_and_no_other_does() -> None:
    levels = {
        event: {level} for cell, level, *_ in documented("Logs", "Event") for event in quoted(cell)
    }
    assert levels == {
        event: {"info, debug"} if found == {"log"} else found
        for event, found in events_of_the_code().items()
    }


def test_log_events_are_names_of_one_style() -> None:
    assert [event for event in events_of_the_code() if not EVENT.fullmatch(event)] == []


@pytest.mark.parametrize(
    "line",
    [
        "log.info(f'{x} failed')",
        "self._log.error('%s', x)",
        "write = self._log.info",
        "log.info(x)",
    ],
)
def test_an_event_without_a_name_would_be_seen(line: str) -> None:
    with pytest.raises(AssertionError):
        assert all(EVENT.fullmatch(event) for event, _ in logged(line))
