"""The first design's React hook in Chromium, on the server of `make run`, as it was written."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from chatserver.dev.demo import DEMO_LISTINGS, LANDLORD, TENANT
from chatserver.dev.node import find_node
from chatserver.dev.ports import free_port
from tests.kit.clients import Rest
from tests.kit.processes import ServerProcess, started
from tests.system.e2e.browser import ROOT, Screen, at, eventually, running_browser
from tests.system.e2e.node_client import JsSocket, NodeClient

HOOK = Path(__file__).parent / "seed_hook"
MODULES = ROOT / "client" / "node_modules"
STRANGER = "00000000-0000-4000-8000-000000000003"

PAGE = """<!doctype html><meta charset=utf-8><title>Hook</title><link rel=icon href=data:,>
<body><script src=/page.js></script>"""


class Place:
    """A `chatserver dev` that may be started again, and a page with the hook elsewhere."""

    def __init__(self, directory: Path, pages: str, server: ServerProcess) -> None:
        self.directory = directory
        self.pages = pages
        self.server = server
        self.conversation = ""

    @property
    def state(self) -> Any:
        return json.loads((self.directory / "data" / "dev.json").read_text())

    def token(self, user: Any) -> str:
        token: str = self.state["tokens"][str(user)]
        return token

    def page(self, token: str) -> str:
        return f"{self.pages}/?conversation={self.conversation}&token={token}"

    async def rest(self, method: str, path: str, user: Any, body: Any = None) -> Any:
        async with ClientSession() as http:
            headers = {"Authorization": f"Bearer {self.token(user)}"}
            rest = Rest(http, self.server.base_url)
            return (await rest.call(method, path, None, body, headers)).body


def dev(port: int, directory: Path, pages: str) -> Any:
    data = str(directory / "data")
    return started("dev", port, directory, "--data-dir", data, cors__origins=pages)


async def bundle(port: int) -> bytes:
    """The page as JavaScript; its one address is the server's."""
    process = await asyncio.create_subprocess_exec(
        find_node().binary,
        MODULES / "esbuild" / "bin" / "esbuild",
        *(HOOK / "page.tsx", "--bundle", "--jsx=automatic"),
        env={**find_node().environment(), "NODE_PATH": str(MODULES)},
        stdout=asyncio.subprocess.PIPE,
    )
    made, _ = await process.communicate()
    assert process.returncode == 0
    assert made.count(b"ws://localhost:8000/") == 1
    return made.replace(b"localhost:8000", f"127.0.0.1:{port}".encode())


@asynccontextmanager
async def serving_pages(script: bytes) -> AsyncIterator[str]:
    """The origin of the page with the hook."""

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def code(_: web.Request) -> web.Response:
        return web.Response(body=script, content_type="text/javascript")

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/page.js", code)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[NodeClient]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
async def place(
    chromium: NodeClient, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """Its name comes after the browser's, so that nothing starts where there is none."""
    directory, port = tmp_path_factory.mktemp("dev"), free_port()
    async with AsyncExitStack() as stack:
        pages = await stack.enter_async_context(serving_pages(await bundle(port)))
        server = await stack.enter_async_context(dev(port, directory, pages))
        place = Place(directory, pages, server)
        listing = {"listing_id": str(DEMO_LISTINGS[0].id)}
        opened = await place.rest("POST", "conversations", TENANT.id, listing)
        place.conversation = opened["id"]
        yield place


@pytest.fixture
def tenant(chromium: NodeClient) -> Screen:
    """A screen with the hook."""
    return Screen(chromium, "tenant")


async def join(js: NodeClient, place: Place) -> JsSocket:
    """The landlord, on the real socket.io-client."""
    auth = {"token": place.token(LANDLORD.id)}
    socket = await js.open(place.server.base_url, auth=auth)
    await socket.heard("connect")
    await socket.ok("join", {"conversation_id": place.conversation})
    return socket


async def reads(screen: Screen, test_id: str, wanted: str) -> None:
    """Wait until the element is there and says `wanted`."""

    async def look() -> str:
        return await screen.text(test_id) if await screen.count(at(test_id)) else ""

    await eventually(look, lambda text: text == wanted)


async def test_the_hook_chats_with_a_landlord_on_socketio(
    js: NodeClient, place: Place, tenant: Screen
) -> None:
    await tenant.open(place.page(place.token(TENANT.id)))
    await reads(tenant, "connected", "true")
    landlord, talk = await join(js, place), {"conversation_id": place.conversation}
    await reads(tenant, "presence", f"{LANDLORD.id} true")

    await tenant.evaluate("chat.sendMessage('¿Está libre?')")
    await reads(tenant, "messages", '["¿Está libre?"]')
    asked = await landlord.heard("message")
    assert asked["content"] == "¿Está libre?"
    answered = (await landlord.ok("message", {**talk, "content": "Sí"}))["message"]
    await reads(tenant, "messages", '["¿Está libre?","Sí"]')

    await landlord.ok("typing", {**talk, "is_typing": True})
    await reads(tenant, "typing", f"{LANDLORD.id} true")
    await tenant.evaluate("chat.sendTyping(true)")
    assert (await landlord.heard("typing"))["user_id"] == str(TENANT.id)

    await landlord.ok("read", {"message_id": asked["id"]})
    await reads(tenant, "read", f"{LANDLORD.id} {asked['id']}")
    await tenant.evaluate(f"chat.markRead('{answered['id']}')")
    read = await landlord.heard("read_receipt", 2)
    assert (read["read_by"], read["message_id"]) == (str(TENANT.id), answered["id"])

    await landlord.close()
    await reads(tenant, "presence", f"{LANDLORD.id} false")
    assert await tenant.problems() == []


@pytest.mark.parametrize("who", ["a bad token", "a stranger"])
async def test_the_hook_is_told_that_it_may_not_come_in(
    place: Place, tenant: Screen, who: str
) -> None:
    token = place.token(STRANGER) if who == "a stranger" else "rubbish"
    await tenant.open(place.page(token))
    await reads(tenant, "error", "not_found" if who == "a stranger" else "unauthorized")
    await reads(tenant, "closed", "1008")
    await reads(tenant, "connected", "false")
    await reads(tenant, "messages", "[]")


async def test_a_restart_closes_the_hook_which_comes_back_when_it_is_mounted_again(
    js: NodeClient, place: Place, tenant: Screen
) -> None:
    await tenant.open(place.page(place.token(TENANT.id)))
    await reads(tenant, "connected", "true")
    landlord = await join(js, place)
    await tenant.evaluate("chat.sendMessage('before')")
    await reads(tenant, "messages", '["before"]')
    place.server.terminate()
    await reads(tenant, "closed", "1012")
    await reads(tenant, "connected", "false")
    assert await place.server.exit_code(60) == 0
    port = int(place.server.base_url.rpartition(":")[2])
    async with dev(port, place.directory, place.pages):
        await tenant.reload()
        await reads(tenant, "connected", "true")
        await landlord.heard("connect", 2)
        await tenant.evaluate("chat.sendMessage('after')")
        await reads(tenant, "messages", '["after"]')
        assert (await landlord.heard("message", 2))["content"] == "after"
        path = f"conversations/{place.conversation}/messages?limit=2"
        history = await place.rest("GET", path, TENANT.id)
        assert [message["content"] for message in history] == ["after", "before"]
