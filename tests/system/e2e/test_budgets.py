"""The budgets at every way into a node: who is refused, who is closed, and who is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from socket import create_connection
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession, ClientTimeout, WSServerHandshakeError
from structlog.testing import capture_logs
from yarl import URL

from chatserver.models import Role
from chatserver.realtime import sessions
from tests.kit.app import Person, RunningServer, add_person, running_server
from tests.kit.clients import TIMEOUT, Answer, Device, Rest
from tests.kit.postgres import Databases

# Ten units at once, one each six minutes: no whole one comes back while a test runs, but
# a little does, so that the next one after the ten always goes.
SMALL: dict[str, Any] = {"rate_limit__user": "10/hour", "rate_limit__address": "10/hour"}
POLL = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture(scope="module")
async def server(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningServer]:
    """Behind a proxy that is trusted: the tests say which address they come from."""
    root = tmp_path_factory.mktemp("page")
    (root / "index.html").write_text("<!doctype html>")
    page = {"server__web_root": str(root), "server__trusted_proxies": ("127.0.0.1",)}
    async with databases.migrated() as url, running_server(url, **page, **SMALL) as running:
        yield running


class Visitor:
    """Somebody at an address of their own."""

    def __init__(self, http: ClientSession, server: RunningServer, address: str) -> None:
        self.http, self.server = http, server
        self.rest = Rest(http, server.base_url)
        self.headers = {"X-Forwarded-For": address}

    async def get(self, path: str, token: str | None = None) -> Answer:
        headers = {**self.headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return await self.rest.call("GET", path, None, None, headers)

    async def person(self, role: Role = Role.CLIENT) -> Person:
        return await add_person(self.server.database_url, role)

    async def connect(self, person: Person, token: str | None = None) -> Device:
        """Raises ConnectionRefusedError, or WSServerHandshakeError over HTTP."""
        url = f"{self.server.base_url}/socket.io/?EIO=4&transport=websocket"
        device = Device(await self.http.ws_connect(url, headers=self.headers))
        await device.send_raw(f'40{{"token": "{token or person.token()}"}}')
        async with asyncio.timeout(TIMEOUT):
            await device._connected
        return device

    async def spend_all(self) -> Answer:
        """Ask for what does not exist, without a token, until that is refused."""
        for _ in range(30):
            answer = await self.get("/nothing")
            if answer.status != 404:
                return answer
        raise AssertionError("never refused")


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(TIMEOUT)) as http:
        yield http


@pytest.fixture
def visitor(http: ClientSession, server: RunningServer) -> Visitor:
    return Visitor(http, server, f"2001:db8:{uuid4().hex[:4]}:{uuid4().hex[:4]}::1")


def assert_limited(answer: Answer) -> None:
    assert (answer.status, answer.body["code"]) == (429, "rate_limited")
    assert answer.body["retryable"]
    assert answer.body["retry_after"] >= 5
    assert int(answer.headers["Retry-After"]) >= answer.body["retry_after"]


# A user


async def test_sockets_rest_and_handshakes_of_a_user_are_one_budget(visitor: Visitor) -> None:
    person = await visitor.person()
    device = await visitor.connect(person)  # 2
    assert (await device.call("sync", {}))["ok"]  # 3.5
    for _ in range(5):
        assert (await visitor.get("unread-count", person.token())).status == 200  # 8.5
    for _ in range(4):
        answer = await device.call("nonsense", {})
        assert answer["error"]["code"] == "unknown_event"  # 10.5
    error = (await device.call("sync", {}))["error"]
    assert (error["code"], error["retryable"]) == ("rate_limited", True)
    assert error["retry_after"] >= 5
    assert_limited(await visitor.get("unread-count", person.token()))
    with pytest.raises(ConnectionRefusedError) as refused:
        await visitor.connect(person)
    assert refused.value.args[0]["code"] == "rate_limited"
    assert refused.value.args[0]["retry_after"] >= 5
    await device.close()

    other = await visitor.connect(await visitor.person())
    assert (await other.call("sync", {}))["ok"]
    await other.close()


async def test_without_an_acknowledgement_the_refusal_is_an_error_event(visitor: Visitor) -> None:
    person = await visitor.person()
    device = await visitor.connect(person)
    for _ in range(30):
        await device.emit("sync", {})
    assert (await device.heard("error"))[0]["code"] == "rate_limited"
    await device.close()


async def test_a_socket_that_goes_on_is_told_and_closed_so_that_it_may_come_back(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "TOLD_GRACE", -1.0)
    device = await visitor.connect(await visitor.person())
    for _ in range(40):
        await device.emit("nonsense", {})
    async with asyncio.timeout(TIMEOUT):
        await device.is_closed.wait()
    codes = [error["code"] for error in device.of("error")]
    assert set(codes) == {"unknown_event", "rate_limited"}
    assert codes[-1] == "rate_limited"
    assert device.close_code == 1013


async def test_a_rest_caller_who_goes_on_has_to_connect_anew(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await visitor.person()
    token = person.token()
    while (answer := await visitor.get("unread-count", token)).status == 200:
        pass
    assert_limited(answer)
    assert "Connection" not in answer.headers
    monkeypatch.setattr("chatserver.http.problems.TOLD_GRACE", -1.0)
    answer = await visitor.get("unread-count", token)
    assert_limited(answer)
    assert answer.headers["Connection"] == "close"


async def test_who_is_refused_for_the_budget_is_not_a_record_each_time(visitor: Visitor) -> None:
    person = await visitor.person()
    device = await visitor.connect(person)
    with capture_logs() as logs:
        while (await device.call("sync", {}))["ok"]:
            pass
        assert_limited(await visitor.get("unread-count", person.token()))
    told = [log for log in logs if log.get("code") == "rate_limited"]
    assert [log["event"] for log in told if log["log_level"] != "debug"] == []
    await device.close()


async def test_what_a_user_who_spends_asks_for_at_once_begins_in_turns_of_its_own(
    visitor: Visitor,
) -> None:
    person, node = await visitor.person(), visitor.server.node
    assert (await visitor.get("unread-count", person.token())).status == 200  # a tenth is spent
    request = (
        "GET /api/chat/unread-count HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {person.token()}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        for _ in range(30):
            port = URL(visitor.server.base_url).port
            client = stack.enter_context(create_connection(("127.0.0.1", port)))
            client.sendall(request)  # the loop, which is ours, too, has not looked at any yet
        async with asyncio.timeout(TIMEOUT):
            while not node.budgets.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)
            while node.budgets.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_the_hosts_own_service_is_not_limited(visitor: Visitor) -> None:
    service = await visitor.person(Role.SERVICE)
    for _ in range(20):
        assert (await visitor.get("unread-count", service.token())).status == 200


async def test_what_a_page_of_a_list_holds_is_charged(visitor: Visitor) -> None:
    person = await visitor.person()
    budgets = visitor.server.node.budgets
    assert (await visitor.get("conversations", person.token())).status == 200
    assert budgets._users is not None
    before = budgets._users.spent_part(person.id.int)
    answer = await visitor.get("sync", person.token())
    assert answer.status == 200
    assert budgets._users.spent_part(person.id.int) - before == pytest.approx(0.15, abs=0.01)


# An address


async def test_bad_tokens_are_refused_by_their_address_and_good_ones_are_not(
    visitor: Visitor,
) -> None:
    person = await visitor.person()
    bad = person.token(secret="another secret, of thirty-two bytes or more")
    statuses = [(await visitor.get("unread-count", bad)).status for _ in range(12)]
    assert statuses == [401] * 11 + [429]
    assert_limited(await visitor.get("unread-count"))
    assert (await visitor.get("unread-count", person.token())).status == 200


async def test_a_handshake_without_a_token_counts_and_one_with_a_good_one_does_not(
    visitor: Visitor,
) -> None:
    for _ in range(8):
        device = await visitor.connect(await visitor.person())
        await device.close()
    for _ in range(3):  # 3 each: the handshake, and the token
        with pytest.raises(ConnectionRefusedError) as refused:
            await visitor.connect(await visitor.person(), "no token")
        assert refused.value.args[0]["code"] == "unauthorized"
    with pytest.raises(ConnectionRefusedError) as refused:
        await visitor.connect(await visitor.person(), "no token")
    assert refused.value.args[0]["code"] == "rate_limited"
    # Somebody has proven who they are: nobody else at the address is locked out.
    device = await visitor.connect(await visitor.person())
    await device.close()


async def test_where_nobody_has_a_good_token_handshakes_are_refused_over_http(
    visitor: Visitor,
) -> None:
    assert_limited(await visitor.spend_all())
    answer = await visitor.get(POLL)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 5
    assert answer.body == {"code": 4, "message": "Too many requests"}
    with pytest.raises(WSServerHandshakeError) as refused:
        await visitor.connect(await visitor.person())
    assert refused.value.status == 429


@pytest.mark.parametrize("path", ["/nothing", "/metrics", "/api/docs", "/api/openapi.json", "/"])
async def test_what_needs_no_token_is_refused_too(visitor: Visitor, path: str) -> None:
    await visitor.spend_all()
    assert_limited(await visitor.get(path))


FOREIGN = {"Origin": "https://elsewhere.example"}
PREFLIGHT = {**FOREIGN, "Access-Control-Request-Method": "GET"}
SOCKETS = "/socket.io/"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/nothing", {"Authorization": "x"}),
        ("PUT", "conversations", {"Authorization": "Bearer x"}),
        ("GET", "conversations", FOREIGN),
        ("OPTIONS", "conversations", {}),
        ("OPTIONS", "conversations", PREFLIGHT),
        ("GET", f"{SOCKETS}?EIO=3&transport=polling", {}),
        ("GET", f"{SOCKETS}?EIO=4&transport=polling&sid=none", {}),
        ("POST", POLL, {}),
        ("GET", SOCKETS, {}),
        ("GET", POLL, FOREIGN),
        ("OPTIONS", SOCKETS, {}),
        ("GET", "/ws/chat/none", {}),
    ],
)
async def test_what_is_refused_at_once_is_not_free(
    visitor: Visitor, method: str, path: str, headers: dict[str, str]
) -> None:
    for _ in range(30):
        answer = await visitor.rest.call(method, path, None, None, {**visitor.headers, **headers})
        if answer.status == 429:
            break
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 5
    assert_limited(await visitor.get("/nothing"))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [("GET", "/nothing", {}), ("GET", "conversations", FOREIGN), ("OPTIONS", "conversations", {})],
)
async def test_what_comes_to_no_route_is_its_users_where_there_is_a_token(
    visitor: Visitor, method: str, path: str, headers: dict[str, str]
) -> None:
    person = await visitor.person()
    headers = {**visitor.headers, **headers, "Authorization": f"Bearer {person.token()}"}
    for _ in range(12):
        answer = await visitor.rest.call(method, path, None, None, headers)
    assert_limited(answer)
    assert (await visitor.get("/nothing")).status == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_load_balancer_is_answered_whatever_comes_through_it(
    visitor: Visitor, path: str
) -> None:
    await visitor.spend_all()
    assert (await visitor.get(path)).status == 200


async def test_an_address_is_a_64_of_ipv6(http: ClientSession, server: RunningServer) -> None:
    block = f"2001:db8:{uuid4().hex[:4]}"
    await Visitor(http, server, f"{block}:1::1").spend_all()
    assert_limited(await Visitor(http, server, f"{block}:1:ffff:ffff:ffff:ffff").get("/nothing"))
    assert (await Visitor(http, server, f"{block}:2::1").get("/nothing")).status == 404


# Proxies


async def test_behind_a_proxy_that_is_not_trusted_nobody_is_refused_but_operators_are_told(
    database_url: str, http: ClientSession
) -> None:
    async with running_server(database_url, **SMALL) as server:
        visitor = Visitor(http, server, "203.0.113.9")
        with capture_logs() as logs:
            for _ in range(30):
                assert (await visitor.get("/nothing")).status == 404
        warnings = [line for line in logs if line["event"] == "proxy_not_trusted"]
        assert [line["peer"] for line in warnings] == ["127.0.0.1"]
        content, _ = server.node.metrics.render(["text/plain"])
        assert b"chat_budget_uncounted_total 30" in content
        # Whoever connects by themselves is an address.
        visitor.headers = {}
        assert_limited(await visitor.spend_all())


async def test_empty_limits_limit_nobody(database_url: str, http: ClientSession) -> None:
    off = {"rate_limit__user": "", "rate_limit__address": ""}
    async with running_server(database_url, **off) as server:
        visitor = Visitor(http, server, "203.0.113.9")
        visitor.headers = {}
        for _ in range(30):
            assert (await visitor.get("/nothing")).status == 404
