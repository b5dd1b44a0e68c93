"""The alarms on what a node really shows: two scrapes, and promtool goes on as it went on there."""

import re
from pathlib import Path
from typing import Any

from tests.integration.api.conftest import Log
from tests.integration.api.rest import API, Rest
from tests.system.config.test_alerts import ALARMS, CASES, MINUTES, expected, run_promtool

# How long things take is the busy machine's affair.
WATCHED = [name for name, rule in ALARMS.items() if "_seconds:p99" not in rule["expr"]]

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


async def scrape(rest: Rest) -> str:
    return (await rest.get("/metrics", user=None)).content.decode()


def samples(text: str) -> dict[str, float]:
    """Each sample with the labels that Prometheus adds."""
    found: dict[str, float] = {'up{job="chatserver"}': 1}
    for line in text.splitlines():
        if not line.startswith("#") and (match := SAMPLE.fullmatch(line)):
            name, labels, value = match.groups()
            found[f"{name}{{{labels or ''}}}"] = float(value)
    return {
        f'{series[:-1]}{"," if series[-2] != "{" else ""}instance="n1"}}': value
        for series, value in found.items()
    }


def going_on(before: str, after: str) -> dict[str, str]:
    """What grew between the two scrapes grows as much each minute; the rest stays as it is."""
    gauges = set(re.findall(r"^# TYPE (\w+) gauge$", after, re.MULTILINE)) | {"up"}
    then = samples(before)
    return {
        series: f"{value}x{MINUTES}"
        if series.partition("{")[0] in gauges
        else f"0+{value - then.get(series, 0)}x{MINUTES}"
        for series, value in samples(after).items()
    }


def fires(names: set[str], series: dict[str, str]) -> dict[str, Any]:
    """These alarms fire on the series, and no other."""
    return {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{MINUTES - 1}m",
                "alertname": name,
                "exp_alerts": [expected(name, CASES[name].labels)] if name in names else [],
            }
            for name in WATCHED
        ],
    }


async def test_a_node_that_serves_sets_off_none_and_a_broken_one_those_of_its_cause(
    log: Log, own_rest: Rest, tmp_path: Path
) -> None:
    rest = own_rest
    conversation = await rest.open()
    assert (await rest.get("/readyz", user=None)).status == 200
    started = await scrape(rest)
    await rest.send(conversation)
    assert (await rest.get(f"{API}/unread-count")).status == 200
    served = await scrape(rest)
    await rest.sql("ALTER TABLE chat.unread_totals RENAME TO gone")
    assert (await rest.get(f"{API}/unread-count")).status == 500
    body = {"content": "hello"}
    assert (await rest.post(f"{conversation}/messages", body)).status == 500
    rest.node.readiness.drain()
    broken = await scrape(rest)
    causes = {
        *("ChatRequestsFailing", "ChatMessagesRefused"),
        *("ChatSendsUnavailable", "ChatNodeDrainsForever"),
    }
    run_promtool(
        tmp_path,
        [fires(set(), going_on(started, served)), fires(causes, going_on(served, broken))],
    )
