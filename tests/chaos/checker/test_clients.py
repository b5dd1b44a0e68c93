"""What the checker forgives: a careless balancer, and a node whose clock is ahead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import orjson
import pytest
from aiohttp import ClientSession, web

from chatserver.models import Role
from tests.chaos.checker.clients import Answer, Client, Keys
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import History
from tests.chaos.checker.plans import TOKEN_TTL, DeviceSpec, Person
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.watches import Watch
from tests.kit.app import running_server
from tests.kit.waiting import eventually

PERSON = Person("tenant", uuid4(), Role.CLIENT)


@asynccontextmanager
async def running_client(port: int) -> AsyncIterator[Client]:
    """Those of a person whose tokens no server accepts."""
    keys = Keys("no server's secret, and long enough", [])
    async with ClientSession() as http:
        yield Client(http, port, PERSON, keys, lambda _: None)


@asynccontextmanager
async def answering(status: int, content_type: str, text: str) -> AsyncIterator[int]:
    """The port of something that has the same answer for everything."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, content_type=content_type, text=text)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_page_of_the_balancer_is_no_answer_of_the_server(status: int) -> None:
    async with (
        answering(status, "text/html", "<html>no server is available</html>") as port,
        running_client(port) as client,
    ):
        with pytest.raises(Lost):
            await client.rest("GET", "/api/chat/conversations")


async def test_an_error_of_the_server_is_its_answer() -> None:
    error = '{"code": "unavailable", "message": "later"}'
    async with answering(503, "application/json", error) as port, running_client(port) as client:
        answer = await client.rest("GET", "/api/chat/conversations")
        assert answer == Answer("unavailable", orjson.loads(error))


async def test_a_page_where_the_server_must_answer_is_not_forgiven() -> None:
    async with (
        answering(500, "text/html", "<html>Internal Server Error</html>") as port,
        running_client(port) as client,
    ):
        with pytest.raises(orjson.JSONDecodeError):
            await client.rest("GET", "/api/chat/conversations")


@pytest.mark.parametrize(
    ("ttl", "was_a_clock_ahead", "forgiven"),
    [(4.0, True, True), (4.0, False, False), (TOKEN_TTL, True, False)],
)
async def test_only_a_token_that_ends_soon_may_be_refused_and_only_by_a_clock_ahead(
    database_url: str, ttl: float, was_a_clock_ahead: bool, forgiven: bool
) -> None:
    spec = DeviceSpec("phone", PERSON, "websocket", True, True, 5, 1.0, ttl)
    history = History()
    async with (
        running_server(database_url) as server,
        running_client(server.port) as client,
    ):
        device = Device(spec, client, history, Watch(history, {}), seed=1)
        device.was_a_clock_ahead = lambda: was_a_clock_ahead
        device.start()
        await eventually(lambda: history.figures["handshakes refused: unauthorized"] > 0)
        await device.stop()
    assert [each.what for each in history.violations] == (
        [] if forgiven else ["the handshake was refused: unauthorized"]
    ) * history.figures["handshakes refused: unauthorized"]
