"""The alarms: each fires for its cause and for nothing else, and has its page in the runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from chatserver.telemetry.metrics import Metrics
from tests.kit.balancer import find_program
from tests.kit.metrics import documented, documented_metrics, quoted, sample_names
from tests.kit.promql import grouped_by, selectors

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "config" / "prometheus" / "alerts.yaml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")

RULES = [
    rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALARMS = {rule["alert"]: rule for rule in RULES if "alert" in rule}

# Prometheus' own.
OWN_METRICS, OWN_LABELS = {"up"}, {"job", "instance", "le"}

# What the runbook quotes beside metrics, labels and events.
OTHER_WORDS = {
    *("created_at", "internal_error", "request_id", "socket_id"),
    *("max_connections", "pg_blocking_pids", "pg_stat_activity", "wait_event_type"),
}

POST = 'method="POST",route="/api/chat/conversations/{conversation_id}/messages"'
MINUTES = 20
N1 = {"instance": "n1"}


def level(value: float) -> str:
    """A series that stands, a value a minute."""
    return f"{value}x{MINUTES}"


def rate(a_minute: float) -> str:
    """A counter that grows by so much a minute."""
    return f"0+{a_minute}x{MINUTES}"


def step(height: float) -> str:
    """A counter that grew once, five minutes before the end."""
    return f"0x{MINUTES - 6} {height}x6"


def histogram(name: str, labels: str, *, above: str) -> dict[str, str]:
    """Sixty observations a minute between the bucket that ends at `above` and 5."""
    sample = f"{name}_bucket{{{labels}{',' if labels else ''}le="
    return {
        f'{sample}"0.001"}}': rate(0),
        f'{sample}"{above}"}}': rate(0),
        f'{sample}"5"}}': rate(60),
        f'{sample}"+Inf"}}': rate(60),
    }


class Case(NamedTuple):
    """Series with which an alarm fires, with these labels, and with which it does not."""

    fires: dict[str, str]
    labels: dict[str, str]
    quiet: dict[str, str]


def simple(sample: str, bad: str, good: str, **labels: str) -> Case:
    return Case({sample: bad}, labels, {sample: good})


NODE = '{instance="n1"}'
ERRORS = 'websocket_errors_total{instance="n1",error_type='
RECEIVED = 'chat_backplane_received_total{instance="n1",source='
FAILURES = 'chat_commit_failures_total{instance="n1",reason='
EVENTS = 'chat_events_total{instance="n1",event="message",result='
REQUESTS = f'http_request_seconds_count{{instance="n1",{POST},status='
UP = 'up{job="chatserver",instance="n1"}'
READY = 'chat_ready{instance="n1",check='

CASES = {
    "ChatNodeDown": simple(UP, level(0), level(1), job="chatserver", **N1),
    "ChatNodeNotReady": Case(
        {f'{READY}"database"}}': level(1), f'{READY}"backplane"}}': level(0),
         f"chat_draining{NODE}": level(0)},
        N1,
        {f'{READY}"backplane"}}': level(0), f"chat_draining{NODE}": level(1)},
    ),
    "ChatNodeDrainsForever": simple(f"chat_draining{NODE}", level(1), level(0), **N1),
    "ChatEventLoopSlow": Case(
        histogram("chat_event_loop_lag_seconds", 'instance="n1"', above="0.5"),
        N1,
        histogram("chat_event_loop_lag_seconds", 'instance="n1"', above="0.5")
        | {'chat_event_loop_lag_seconds_bucket{instance="n1",le="0.001"}': rate(60)},
    ),
    "ChatPublishQueueLong": simple(f"chat_publish_queue{NODE}", level(9000), level(900), **N1),
    "ChatInternalErrors": Case(
        {f'{ERRORS}"internal_error"}}': step(1)},
        N1,
        {f'{ERRORS}"internal_error"}}': level(7), f'{ERRORS}"unknown_sid"}}': step(1)},
    ),
    "ChatRequestsFailing": Case(
        {f'{REQUESTS}"500"}}': rate(6), f'{REQUESTS}"201"}}': rate(60)},
        N1,
        {f'{REQUESTS}"500"}}': rate(0), f'{REQUESTS}"422"}}': rate(60)},
    ),
    "ChatSendsUnavailable": Case(
        {f'{EVENTS}"unavailable"}}': rate(6), f'{EVENTS}"ok"}}': rate(600)},
        {},
        {f'{EVENTS}"rate_limited"}}': rate(60), f'{EVENTS}"ok"}}': rate(60),
         f'{REQUESTS}"201"}}': rate(60)},
    ),
    "ChatDeliverySlow": Case(
        histogram("chat_message_delivery_seconds", 'instance="n1"', above="1"),
        {},
        histogram("chat_message_delivery_seconds", 'instance="n1"', above="1")
        | {'chat_message_delivery_seconds_bucket{instance="n1",le="0.001"}': rate(60)},
    ),
    "ChatCommitsSlow": Case(
        histogram("chat_commit_seconds", 'instance="n1"', above="1"),
        N1,
        histogram("chat_commit_seconds", 'instance="n1"', above="1")
        | {'chat_commit_seconds_bucket{instance="n1",le="0.001"}': rate(60)},
    ),
    "ChatCommitsFailing": Case(
        {f'{FAILURES}"unavailable"}}': rate(5)},
        {"reason": "unavailable", **N1},
        {f'{FAILURES}"unavailable"}}': step(5), f'{FAILURES}"refused"}}': rate(1)},
    ),
    "ChatMessagesRefused": Case(
        {f'{FAILURES}"refused"}}': step(1)}, N1, {f'{FAILURES}"locked"}}': step(1)}
    ),
    "ChatDatabasePoolFull": Case(
        {f"chat_database_pool_used{NODE}": level(10), f"chat_database_pool_size{NODE}": level(10)},
        N1,
        {f"chat_database_pool_used{NODE}": level(9), f"chat_database_pool_size{NODE}": level(10)},
    ),
    "ChatDefaultPartitionInUse": simple(
        f"chat_default_partition_in_use{NODE}", level(1), level(0), **N1
    ),
    "ChatResyncHints": simple(f"chat_resync_hints_total{NODE}", rate(120), step(500), **N1),
    "ChatRevocationsStale": simple(
        f"chat_revocations_age_seconds{NODE}", level(30), level(0.7), **N1
    ),
    "ChatBackplaneDown": simple(f"chat_backplane_up{NODE}", level(0), level(1), **N1),
    "ChatBackplaneFlapping": simple(f"chat_backplane_lost_total{NODE}", rate(1), step(1), **N1),
    "ChatBackplanePartitioned": Case(
        {'chat_backplane_up{instance="n1"}': level(1), 'chat_backplane_up{instance="n2"}': level(1),
         'chat_backplane_nodes{instance="n1"}': level(0),
         'chat_backplane_nodes{instance="n2"}': level(1)},
        N1,
        {'chat_backplane_up{instance="n1"}': level(1), 'chat_backplane_up{instance="n2"}': level(1),
         'chat_backplane_nodes{instance="n1"}': level(1),
         'chat_backplane_nodes{instance="n2"}': level(1)},
    ),
    "ChatBackplaneBacklog": simple(
        f"chat_backplane_unconfirmed{NODE}", level(5000), level(50), **N1
    ),
    "ChatBackplaneMessagesDropped": simple(
        f"chat_backplane_dropped_total{NODE}", step(3), level(3), **N1
    ),
    "ChatBackplaneForgery": Case(
        {f'{RECEIVED}"forged"}}': rate(5)},
        {"source": "forged", **N1},
        {f'{RECEIVED}"other"}}': rate(500), f'{RECEIVED}"unsigned"}}': level(40)},
    ),
    "ChatFilesRunOut": Case(
        {f"chat_open_files{NODE}": level(900), f"chat_open_files_limit{NODE}": level(1024)},
        N1,
        {f"chat_open_files{NODE}": level(700), f"chat_open_files_limit{NODE}": level(1024)},
    ),
    "ChatHandshakesRefused": Case(
        {f'{ERRORS}"unknown_sid"}}': rate(120)},
        {"error_type": "unknown_sid"},
        {f'{ERRORS}"unknown_sid"}}': rate(6), f'{ERRORS}"draining"}}': rate(600)},
    ),
    "ChatConnectionsRefused": Case(
        {'chat_connections_refused_total{instance="n1",reason="all"}': step(1)},
        {"reason": "all", **N1},
        {'chat_connections_refused_total{instance="n1",reason="all"}': level(5)},
    ),
    "ChatBudgetRefusals": Case(
        {'chat_budget_refused_total{instance="n1",budget="user"}': rate(120)},
        {"budget": "user"},
        {'chat_budget_refused_total{instance="n1",budget="user"}': rate(10)},
    ),
    "ChatAddressesNotCounted": simple(
        f"chat_budget_uncounted_total{NODE}", step(1), level(1), **N1
    ),
    "ChatLimitsNotShared": simple(
        f"chat_budget_fallback_total{NODE}", rate(60), step(5), **N1
    ),
}  # fmt: skip


def expected(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """The alarm as promtool is told to expect it."""
    rule = ALARMS[name]
    return {"exp_labels": labels | rule["labels"], "exp_annotations": rule["annotations"]}


def run_promtool(directory: Path, tests: list[dict[str, Any]]) -> None:
    """Have it run these tests of the rules."""
    file = directory / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests})
    )
    command = [find_program("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alarm_fires_for_its_cause_and_for_nothing_else(tmp_path: Path) -> None:
    assert CASES.keys() == ALARMS.keys()
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": each, "values": of} for each, of in series.items()],
            "alert_rule_test": [
                {"eval_time": f"{MINUTES - 1}m", "alertname": name, "exp_alerts": alerts}
            ],
        }
        for name, case in CASES.items()
        for series, alerts in ((case.fires, [expected(name, case.labels)]), (case.quiet, []))
    ]
    run_promtool(tmp_path, tests)


def check(expression: str, recorded: set[str]) -> None:
    """Each metric of `expression` is one of the code's or recorded, each label one it has."""
    samples, labels = sample_names(Metrics()), documented_metrics()
    known: set[str] = OWN_LABELS.copy()
    found = list(selectors(expression))
    assert found, expression
    for name, chosen in found:
        if name in recorded or name in OWN_METRICS:
            assert chosen <= OWN_LABELS, f"{name}: {chosen}"
            known |= {"transport"} if name in recorded else set()
            continue
        assert name in samples, f"there is no metric {name}"
        known |= labels[samples[name]]
        assert chosen <= labels[samples[name]] | OWN_LABELS, f"{name}: {chosen}"
    assert grouped_by(expression) <= known, expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_use_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    check(rule["expr"], RECORDED)


@pytest.mark.parametrize(
    "wrong",
    ["chat_nothing > 0", "chat_commit_seconds > 0", 'chat_events_total{door="x"}',
     "sum by (door) (chat_events_total)", "chat:nothing > 1", "1 > 0"],
)  # fmt: skip
def test_what_there_is_not_would_be_seen(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check(wrong, RECORDED)


def test_each_alarm_has_its_section_in_the_runbook_and_no_other_has() -> None:
    assert re.findall(r"^### (Chat\w+)$", RUNBOOK, re.MULTILINE) == list(ALARMS)
    for section in re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]:
        text = section.split("\n## ")[0]
        for part in ("**Means**", "**See**", "**Do**"):
            assert text.count(part) == 1, text[:40]


def test_the_runbook_names_metrics_and_events_that_there_are() -> None:
    labels = documented_metrics()
    known = labels.keys() | set().union(*labels.values())
    for heading, column in (("Logs", "Event"), ("Metrics", "`error_type` | What came")):
        known |= {name for cell, *_ in documented(heading, column) for name in quoted(cell)}
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK))
    assert len(names) > 30
    assert names - known == OTHER_WORDS
