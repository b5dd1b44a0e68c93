"""Metrics: the names and labels that dashboards are built on, and what they count."""

import re
from collections.abc import Iterator

import pytest

from chatserver.models import MessageType, Role
from chatserver.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[str, float]:
    """Each sample with its labels in order of their names."""
    content, headers = metrics.render(["text/plain"])
    assert headers["Content-Type"].startswith("text/plain")
    return dict(parsed(content.decode()))


def parsed(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()  # type: ignore[union-attr]
        inner = ",".join(sorted(re.findall(r'\w+="[^"]*"', labels or "")))
        yield f"{name}{{{inner}}}" if inner else name, float(value)


def types(metrics: Metrics) -> dict[str, str]:
    content, _ = metrics.render(["text/plain"])
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", content.decode(), re.MULTILINE))


def exercise(metrics: Metrics) -> None:
    """Call everything once."""
    metrics.session_opened(Role.CLIENT)
    metrics.error("rate_limited")
    metrics.socket_opened("websocket")
    metrics.socket_opened("polling")
    metrics.socket_closed("polling", "ping_timeout")
    metrics.message_sent(MessageType.TEXT)
    metrics.message_delivered(0.02)
    metrics.send_answered("rest", 0.003)
    metrics.committed(7, 0.002)
    metrics.event_handled("message", "ok")
    metrics.request_handled("GET", "/api/chat/conversations/{id}", 200, 0.004)
    metrics.default_partition_in_use(False)
    metrics.pool(10, 3)
    metrics.publish_queue(4)
    metrics.rate_limit_fallback()
    metrics.commit_failed("locked", 2)
    metrics.readiness({"database": True, "backplane": False}, is_draining=True)
    metrics.loop_lag(0.3)
    metrics.resync_hint()


def test_the_four_of_the_specification_keep_their_names_kinds_and_labels(
    metrics: Metrics,
) -> None:
    exercise(metrics)
    kinds = types(metrics)
    assert kinds["websocket_connections_total"] == "gauge"
    assert kinds["chat_messages_sent_total"] == "counter"
    assert kinds["chat_message_delivery_seconds"] == "histogram"
    assert kinds["websocket_errors_total"] == "counter"
    found = samples(metrics)
    assert found['websocket_connections_total{user_role="client"}'] == 1
    assert found['chat_messages_sent_total{message_type="text"}'] == 1
    assert found['websocket_errors_total{error_type="rate_limited"}'] == 1
    edges = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, float("inf")]
    buckets = [
        float(edge.replace("+Inf", "inf"))
        for edge in re.findall(r'chat_message_delivery_seconds_bucket{le="([^"]+)"}', str(found))
    ]
    assert buckets == edges
    assert found['chat_message_delivery_seconds_bucket{le="0.01"}'] == 0
    assert found['chat_message_delivery_seconds_bucket{le="0.05"}'] == 1


def test_an_operator_finds_latency_batches_pool_sockets_and_events(metrics: Metrics) -> None:
    exercise(metrics)
    found = samples(metrics)
    assert found['chat_send_seconds_count{transport="rest"}'] == 1
    assert found["chat_commit_seconds_count"] == 1
    assert found["chat_commit_batch_size_sum"] == 7
    assert found["chat_database_pool_size"] == 10
    assert found["chat_database_pool_used"] == 3
    assert found['chat_engineio_connections{transport="websocket"}'] == 1
    assert found['chat_events_total{event="message",result="ok"}'] == 1
    request = 'method="GET",route="/api/chat/conversations/{id}",status="200"'
    assert found[f"http_request_seconds_count{{{request}}}"] == 1
    assert found["chat_publish_queue"] == 4
    assert found["chat_rate_limit_fallback_total"] == 1
    assert found["chat_default_partition_in_use"] == 0
    assert found['chat_commit_failures_total{reason="locked"}'] == 2
    assert found['chat_ready{check="database"}'] == 1
    assert found['chat_ready{check="backplane"}'] == 0
    assert found["chat_draining"] == 1
    assert found['chat_event_loop_lag_seconds_bucket{le="0.25"}'] == 0
    assert found['chat_event_loop_lag_seconds_bucket{le="0.5"}'] == 1
    assert found["chat_resync_hints_total"] == 1


def test_what_an_alarm_waits_for_is_zero_before_it_happens(metrics: Metrics) -> None:
    found = samples(metrics)
    for reason in ("unavailable", "locked", "refused"):
        assert found[f'chat_commit_failures_total{{reason="{reason}"}}'] == 0
    for kind in ("internal_error", "handler"):
        assert found[f'websocket_errors_total{{error_type="{kind}"}}'] == 0
    assert found["chat_budget_uncounted_total"] == 0
    assert found["chat_resync_hints_total"] == 0


def test_what_opens_and_closes_is_back_where_it_began(metrics: Metrics) -> None:
    for role in Role:
        metrics.session_opened(role)
        metrics.session_closed(role)
    metrics.socket_opened("polling")
    metrics.socket_upgraded()
    metrics.socket_closed("websocket", "client")
    found = samples(metrics)
    assert {found[f'websocket_connections_total{{user_role="{role}"}}'] for role in Role} == {0}
    assert found['chat_engineio_connections{transport="polling"}'] == 0
    assert found['chat_engineio_connections{transport="websocket"}'] == 0
    assert found['chat_engineio_closed_total{reason="client"}'] == 1


def test_gauges_that_are_looked_up_are_fresh_at_each_scrape(metrics: Metrics) -> None:
    used = iter([1, 5])
    metrics.on_scrape(lambda: metrics.pool(10, next(used)))
    assert samples(metrics)["chat_database_pool_used"] == 1
    assert samples(metrics)["chat_database_pool_used"] == 5


def test_two_nodes_in_one_process_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.message_sent(MessageType.IMAGE)
    assert 'chat_messages_sent_total{message_type="image"}' in samples(one)
    assert 'chat_messages_sent_total{message_type="image"}' not in samples(two)


def test_every_metric_is_explained_and_has_few_values_of_labels(metrics: Metrics) -> None:
    exercise(metrics)
    content = metrics.render(["text/plain"])[0].decode()
    helped = set(re.findall(r"^# HELP (\w+) \S", content, re.MULTILINE))
    assert helped == set(types(metrics))
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", content)
