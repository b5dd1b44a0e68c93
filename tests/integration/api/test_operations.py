"""What operators and load balancers ask."""

import pytest

from chatserver.services import readiness
from tests.integration.api.rest import Rest


async def test_the_process_lives_whatever_becomes_of_the_database(own_rest: Rest) -> None:
    await own_rest.sql("DROP SCHEMA chat CASCADE")
    reply = await own_rest.get("/healthz", user=None)
    assert (reply.status, reply.json) == (200, {"status": "ok"})


async def test_a_node_is_ready_until_it_drains(own_rest: Rest) -> None:
    reply = await own_rest.get("/readyz", user=None)
    checks = {"database": True, "migrations": True, "backplane": True, "draining": False}
    assert (reply.status, reply.json) == (200, {"status": "ready", "checks": checks})
    assert 'chat_ready{check="database"} 1' in (await own_rest.get("/metrics")).content.decode()
    own_rest.node.readiness.drain()
    assert "chat_draining 1" in (await own_rest.get("/metrics")).content.decode()
    reply = await own_rest.get("/readyz", user=None)
    assert reply.status == 503
    assert reply.json == {"status": "not_ready", "checks": checks | {"draining": True}}
    assert (await own_rest.get("/healthz", user=None)).status == 200


async def test_a_probe_can_do_without_the_other_nodes(
    own_rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_receiving() -> bool:
        return False

    monkeypatch.setattr(readiness, "FRESH", 0.0)
    monkeypatch.setattr(own_rest.node.readiness, "_backplane", is_receiving)
    assert (await own_rest.get("/readyz", user=None)).status == 503
    reply = await own_rest.get("/readyz?exclude=backplane", user=None)
    assert (reply.status, reply.json["status"]) == (200, "ready")
    assert not reply.json["checks"]["backplane"]
    assert (await own_rest.get("/readyz?exclude=database", user=None)).status == 503
    own_rest.node.readiness.drain()
    assert (await own_rest.get("/readyz?exclude=backplane", user=None)).status == 503


async def test_probes_may_carry_any_query(rest: Rest) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await rest.get(f"{path}?at=1", user=None)).status == 200


async def test_metrics_are_in_the_format_of_prometheus(rest: Rest) -> None:
    reply = await rest.get("/metrics", user=None)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = reply.content.decode()
    for name in (
        "websocket_connections_total", "chat_messages_sent_total",
        "chat_message_delivery_seconds", "websocket_errors_total", "chat_database_pool_used",
    ):  # fmt: skip
        assert f"# TYPE {name} " in text
