"""What every REST request gets: an id, problems for errors, a log record, a measurement."""

import asyncio
import re
from uuid import uuid4

import pytest

from tests.integration.api.conftest import Log, Start
from tests.integration.api.rest import API, Rest

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "chatserver",
}


async def test_every_request_gets_an_id_of_its_own(rest: Rest) -> None:
    ids = {(await rest.get("/healthz")).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in ids)


async def test_the_callers_own_id_is_kept(rest: Rest) -> None:
    headers = {"X-Request-ID": "trace-1.a_B"}
    assert (await rest.get("/healthz", headers=headers)).headers["X-Request-ID"] == "trace-1.a_B"
    problem = await rest.get("/nothing", headers=headers)
    assert problem.json["request_id"] == "trace-1.a_B"


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 65, "<script>", '"', "é", "a,b"])
async def test_an_id_that_could_do_harm_is_replaced(rest: Rest, given: str) -> None:
    reply = await rest.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-ID"])


async def test_an_unknown_path_is_not_found(rest: Rest) -> None:
    for path in ("/nothing", f"{API}/nothing", f"{API}/conversations/", "/api//docs"):
        assert (await rest.get(path)).outcome == (404, "not_found")


async def test_a_method_that_a_path_does_not_take_is_told_what_it_takes(rest: Rest) -> None:
    reply = await rest.call("PUT", f"{API}/messages/{uuid4()}")
    assert reply.outcome == (405, "method_not_allowed")
    assert set(reply.headers["Allow"].split(", ")) >= {"PATCH", "DELETE"}
    assert "GET" not in reply.headers["Allow"]
    assert (await rest.call("PROPFIND", "/healthz")).outcome == (405, "method_not_allowed")


async def test_head_answers_as_get_without_the_body(rest: Rest) -> None:
    for path in ("/healthz", f"{API}/unread-count"):
        reply = await rest.call("HEAD", path)
        assert (reply.status, reply.content) == (200, b"")


async def test_every_answer_carries_the_security_headers(rest: Rest) -> None:
    replies = [
        await rest.get("/healthz"),
        await rest.get("/nothing"),
        await rest.get(f"{API}/unread-count"),
        await rest.get(f"{API}/unread-count", user=None),
    ]
    for reply in replies:
        assert SECURITY_HEADERS.items() <= dict(reply.headers).items()


async def test_a_failure_is_logged_once_and_answered_without_its_reasons(
    log: Log, own_rest: Rest
) -> None:
    rest = own_rest
    await rest.sql("ALTER TABLE chat.unread_totals RENAME TO gone")
    reply = await rest.get(f"{API}/unread-count")
    assert reply.outcome == (500, "internal_error")
    assert set(reply.json) == {
        "type", "title", "status", "code", "detail", "retryable", "request_id",
    }  # fmt: skip
    for secret in ("SELECT", "unread_totals", "Traceback", "sqlalchemy", ".py"):
        assert secret not in reply.content.decode()
    (record,) = log.records("request_failed")
    assert "UndefinedTableError" in record["exception"]
    assert record["request_id"] == reply.json["request_id"]
    assert log.text.count("Traceback") == record["exception"].count("Traceback")


async def test_a_busy_database_is_unavailable_and_says_when_to_retry(start: Start) -> None:
    rest = await start(database__pool_size=1, database__pool_timeout=1.0)
    assert (await rest.get(f"{API}/unread-count")).status == 200
    async with rest.node.requests.transaction():
        reply = await rest.get(f"{API}/unread-count")
        assert (await rest.get("/healthz")).status == 200
    assert reply.outcome == (503, "unavailable")
    assert reply.json["retryable"] is True
    assert int(reply.headers["Retry-After"]) >= reply.json["retry_after"]
    assert (await rest.get(f"{API}/unread-count")).status == 200


async def test_each_request_is_one_record_without_query_or_token(log: Log, own_rest: Rest) -> None:
    rest = own_rest
    token = rest.token(rest.tenant)
    conversation = await rest.open()
    await rest.get(f"{conversation}?token={token}&secret=1")
    await rest.get(f"{API}/unread-count?token={token}", user=None)
    await rest.post(f"{conversation}/messages", {"content": "a private text"})
    records = log.records("request")
    assert [(record["method"], record["route"], record["status"]) for record in records] == [
        ("POST", "/api/chat/conversations", 201),
        ("GET", "/api/chat/conversations/{conversation_id}", 422),
        ("GET", "/api/chat/unread-count", 401),
        ("POST", "/api/chat/conversations/{conversation_id}/messages", 201),
    ]
    assert all(record["request_id"] and record["duration_ms"] >= 0 for record in records)
    assert [record["user_id"] for record in records] == [
        str(rest.tenant.id), str(rest.tenant.id), None, str(rest.tenant.id),
    ]  # fmt: skip
    assert conversation.rpartition("/")[2] not in str(records)
    for secret in ("eyJ", "token", "secret", "private text"):
        assert secret not in log.text


async def test_the_id_of_one_request_is_in_no_record_of_another(log: Log, own_rest: Rest) -> None:
    rest = own_rest
    paths = [f"{API}/conversations/{rest.listing}", f"{API}/unread-count"] * 10
    replies = await asyncio.gather(*(rest.get(path) for path in paths))
    logged = [record["request_id"] for record in log.records("request")]
    assert sorted(logged) == sorted(reply.headers["X-Request-ID"] for reply in replies)


async def test_a_message_and_a_refusal_are_logged_without_content(log: Log, own_rest: Rest) -> None:
    rest = own_rest
    conversation = await rest.open()
    sent = await rest.send(conversation, "a secret")
    await rest.send(conversation)  # is not begun before the first one is logged
    stranger = await rest.add_user()
    body = {"content": "a secret"}
    refused = await rest.post(f"{conversation}/messages", body, user=stranger)
    malformed = await rest.post(f"{conversation}/messages", {"content": ["a secret"]})
    record = log.records("message_sent")[0]
    fields = {
        "conversation_id": sent["conversation_id"],
        "sender_id": sent["sender_id"],
        "message_type": "text",
        "message_length": len("a secret"),
    }
    assert fields.items() <= record.items()
    by_id = {record["request_id"]: record for record in log.records("request")}
    fields |= {"sender_id": str(stranger.id), "code": "not_found"}
    assert fields.items() <= by_id[refused.headers["X-Request-ID"]].items()
    assert by_id[malformed.headers["X-Request-ID"]]["code"] == "invalid_payload"
    assert "a secret" not in log.text


async def test_requests_and_sends_are_measured_by_template(own_rest: Rest) -> None:
    conversation = await own_rest.open()
    await own_rest.send(conversation)
    await own_rest.call("PROPFIND", "/made-up")
    metrics = (await own_rest.get("/metrics")).content.decode()
    sent = (
        'http_request_seconds_count{method="POST",'
        'route="/api/chat/conversations/{conversation_id}/messages",status="201"} 1'
    )
    assert sent in metrics
    assert 'http_request_seconds_count{method="OTHER",route="none",status="404"} 1' in metrics
    assert 'chat_send_seconds_count{transport="rest"} 1' in metrics
    assert conversation.rpartition("/")[2] not in metrics
    assert "made-up" not in metrics


async def test_the_sockets_routes_are_left_alone(rest: Rest) -> None:
    reply = await rest.get("/socket.io/?EIO=4&transport=nonsense", user=None)
    assert reply.status == 400
    assert "X-Request-ID" not in reply.headers
