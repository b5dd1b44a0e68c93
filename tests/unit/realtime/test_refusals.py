"""Refused requests: a label each for operators, and a line of log that says what to do."""

import asyncio
import logging

import aiohttp
import pytest

from chatserver.eio.refusals import QUIET
from tests.unit.realtime.wire import Node, running_node


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="chatserver")
    return caplog


REFUSED = [
    ("GET", "EIO=4", "unknown_transport", "no Socket.IO client"),
    ("GET", "EIO=4&transport=polling&sid=nobody", "unknown_sid", "needs stickiness"),
    ("POST", "EIO=4&transport=polling&sid=nobody", "unknown_sid", "needs stickiness"),
    ("POST", "EIO=4&transport=polling", "bad_handshake_method", ""),
    ("GET", "EIO=4&transport=polling&j=0", "jsonp", ""),
    ("GET", "EIO=4&transport=websocket", "not_upgraded", "does a proxy drop Upgrade"),
    ("GET", "EIO=3&transport=polling", "unsupported_version", "older than Socket.IO 3"),
]


@pytest.mark.parametrize(("method", "query", "kind", "hint"), REFUSED)
async def test_each_refusal_has_its_label_and_its_line(
    node: Node, log: pytest.LogCaptureFixture, method: str, query: str, kind: str, hint: str
) -> None:
    assert (await node.request(method, query))[0] == 400
    assert node.counts.errors == [kind]
    (record,) = log.records
    assert record.__dict__["error_type"] == kind
    assert hint in record.__dict__.get("hint", "")


async def test_a_foreign_origin_is_named_as_it_was_sent_and_escaped(
    node: Node, log: pytest.LogCaptureFixture
) -> None:
    headers = {"Origin": "https://foe.example\u202e" + "x" * 300}
    async with node.http.get(f"{node.url}?EIO=4&transport=polling", headers=headers) as answer:
        assert answer.status == 403
    assert node.counts.errors == ["foreign_origin"]
    (record,) = log.records
    assert record.__dict__["origin"].startswith("'https://foe.example\\u202exxx")
    assert len(record.__dict__["origin"]) < 120
    assert "cors.origins" in record.__dict__["hint"]


async def test_a_second_transport_of_a_session_has_a_label(
    node: Node, log: pytest.LogCaptureFixture
) -> None:
    client = await node.polling()
    await client.connect()
    websocket = await client.probe()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.probe()
    assert node.counts.errors == ["transport_taken"]
    await websocket.ws.close()


async def test_too_many_sockets_of_an_address_have_a_label_and_a_hint(
    log: pytest.LogCaptureFixture,
) -> None:
    async with running_node(max_sockets_per_address=1) as node:
        await node.polling()
        assert (await node.request("GET", "EIO=4&transport=polling"))[0] == 429
        assert node.counts.errors == ["too_many_sockets"]
        assert "server.trusted_proxies" in log.records[0].__dict__["hint"]


async def test_one_kind_is_logged_once_a_minute_with_the_number_left_out(
    node: Node, log: pytest.LogCaptureFixture
) -> None:
    query = "EIO=4&transport=polling&sid=nobody"
    for _ in range(5):
        await node.request("GET", query)
    await node.request("GET", "EIO=4")
    assert len(log.messages) == 2
    await asyncio.sleep(QUIET)
    await node.request("GET", query)
    assert [record.__dict__["unlogged_before"] for record in log.records] == [0, 0, 4]
    assert node.counts.errors.count("unknown_sid") == 6


async def test_what_a_restart_refuses_is_counted_and_not_logged(
    node: Node, log: pytest.LogCaptureFixture
) -> None:
    client = await node.polling()
    await client.connect()
    await node.sockets.drain(1)
    assert (await client.get())[0] == 400
    assert (await node.request("GET", "EIO=4&transport=polling"))[0] == 503
    assert node.counts.errors == ["draining", "draining"]
    assert log.messages == []


async def test_a_session_that_is_refused_is_counted_once(node: Node) -> None:
    client = await node.polling()
    assert (await client.post(b"junk"))[0] == 400
    assert node.counts.errors == ["invalid_packet"]
