"""socket.io-client in a real Chromium, 60 ms away: many events at once, by every transport.

On a loopback the upgrade is over before a page has anything to say. Over a distance the
first event of `connect` is in a request of its own, and all others in the next one: what a
websocket's TCP, HTTP and Engine.IO handshakes take, a round trip each, is longer.
"""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from tests.kit.app import running_server
from tests.kit.clients import Rest, open_chat
from tests.kit.proxy import running_proxy
from tests.system.e2e.browser import ROOT, Screen, running_browser

CLIENT = ROOT / "tests/js/node_modules/socket.io-client/dist/socket.io.min.js"
DELAY = 0.06
JOINS = 40

# Default options. Answers what each join was told, the disconnects, and the transport.
JOIN_ALL = """
new Promise((resolve) => {
    const socket = io({ auth: { token: %s } });
    const disconnects = [];
    socket.on("disconnect", (reason) => disconnects.push(reason));
    socket.on("connect", async () => {
        const joins = Array.from({ length: %d }, () =>
            socket.emitWithAck("join", { conversation_id: %s }));
        const answers = await Promise.all(joins);
        resolve([answers.map((answer) => answer.ok), disconnects]);
    });
    window.socket = socket;
})
"""


@pytest.fixture(scope="module")
async def screen() -> AsyncIterator[Screen]:
    async with running_browser() as browser:
        yield Screen(browser, "far")


@pytest.mark.parametrize("is_blocked", [False, True], ids=["websocket", "polling alone"])
async def test_forty_joins_on_connect_are_all_answered(
    screen: Screen, database_url: str, is_blocked: bool
) -> None:
    async with (
        running_server(database_url) as server,
        running_proxy(("127.0.0.1", server.port)) as network,
        ClientSession() as http,
    ):
        chat = await open_chat(Rest(http, server.base_url), database_url)
        network.delay(DELAY, handshakes=True)
        if is_blocked:
            for _ in range(100):  # as many as a client may try
                network.cut_before(b"transport=websocket")
        await screen.open(f"http://127.0.0.1:{network.port}/healthz", bypassCSP=True)
        await screen.evaluate(CLIENT.read_text())
        token, chat_id = json.dumps(chat.tenant.token()), json.dumps(chat.id)
        answers, disconnects = await screen.evaluate(JOIN_ALL % (token, JOINS, chat_id))
        assert answers == [True] * JOINS
        assert disconnects == []
        if is_blocked:
            assert await screen.evaluate("socket.io.engine.transport.name") == "polling"
        await screen.evaluate("socket.disconnect() && undefined")
