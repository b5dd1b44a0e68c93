"""The dashboard: its queries are PromQL, and name metrics and labels that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from chatserver.telemetry.metrics import Metrics
from tests.kit.balancer import find_program
from tests.kit.metrics import metric_names, sample_names
from tests.kit.promql import selectors
from tests.system.config.test_alerts import RECORDED, ROOT, check

DASHBOARD = json.loads((ROOT / "config" / "grafana" / "chatserver.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


@each_panel
def test_queries_use_metrics_and_labels_that_there_are(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        check(target["expr"], RECORDED)
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        if "(" in target["expr"]:
            # What is aggregated has no other labels than those by which it is.
            assert all(re.search(rf"\b{label}\b", target["expr"]) for label in shown)


def test_the_choice_of_nodes_asks_for_a_metric_that_there_is() -> None:
    (query,) = (
        each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"
    )
    name = re.fullmatch(r"label_values\((\w+), instance\)", query["query"])
    assert name is not None
    assert name.group(1) in metric_names(Metrics())


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in DASHBOARD["panels"]]
    cells = [
        (column, row)
        for x, y, w, h in places
        for column in range(x, x + w)
        for row in range(y, y + h)
    ]
    assert len(cells) == len(set(cells))


def test_every_metric_with_an_alarm_has_a_panel() -> None:
    rules = (ROOT / "config" / "prometheus" / "alerts.yaml").read_text("utf-8")
    samples = sample_names(Metrics())
    shown = {samples.get(name, name) for query in QUERIES for name, _ in selectors(query)}
    expressions = [
        rule["expr"]
        for group in yaml.safe_load(rules)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    watched = {samples.get(n, n) for each in expressions for n, _ in selectors(each)} - {"up"}
    watched -= {"chat:commit_seconds:p99_5m", "chat:event_loop_lag_seconds:p99_5m"}
    assert watched <= shown


def test_queries_are_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    command = [find_program("promtool"), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
