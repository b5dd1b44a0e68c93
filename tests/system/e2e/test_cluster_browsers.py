"""`chatserver cluster`: two people in real Chromium, each on a node of their own."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from chatserver.dev.ports import free_port
from tests.kit.balancer import find_program
from tests.kit.processes import started
from tests.system.dev.states import until_state
from tests.system.e2e.browser import WEB_ROOT, Screen, at, eventually, running_browser
from tests.system.e2e.house import stored
from tests.system.e2e.node_client import NodeClient

# The browser lives in the module's loop, and so must the tests that use it.


@dataclass(frozen=True)
class Town:
    """A cluster of three nodes, and the demo's two people on the first and the second."""

    data_dir: Path
    state: Any
    tenant: Screen
    landlord: Screen

    @property
    def screens(self) -> tuple[Screen, Screen]:
        return self.tenant, self.landlord

    async def open(self) -> None:
        """The conversation on both screens, each online for the other."""
        links = self.state["links"]
        await asyncio.gather(
            self.tenant.open(links["tenant"]), self.landlord.open(links["landlord"])
        )
        await asyncio.gather(*(screen.says("peer-status", "Online") for screen in self.screens))

    async def sockets(self) -> list[int]:
        """How many sockets each node has."""
        async with ClientSession() as http:
            return [await sockets_of(http, node["url"]) for node in self.state["nodes"]]

    async def agree(self, *texts: str) -> None:
        """Both screens come to show these messages, all of them read; so has the database."""
        wanted = [(text, "read") for text in texts]
        await asyncio.gather(*(screen.shows(*wanted) for screen in self.screens))
        assert await stored(self.state["database_url"], self.state["conversation_id"]) == wanted

    async def replaced(self, node: int, pid: int) -> None:
        """Until the cluster has started another process in the place of `pid`."""
        await until_state(
            self.data_dir, lambda state: state["nodes"][node]["pid"] not in (pid, None)
        )


async def sockets_of(http: ClientSession, url: str) -> int:
    async with http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    counted = [line for line in lines if line.startswith("websocket_connections_total{")]
    return sum(int(float(line.split()[-1])) for line in counted)


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[NodeClient]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def town(chromium: NodeClient, tmp_path: Path) -> AsyncIterator[Town]:
    find_program("haproxy")
    assert (WEB_ROOT / "index.html").exists()
    data_dir = tmp_path / "data"
    arguments = ("--nodes", "3", "--data-dir", str(data_dir))
    async with started("cluster", free_port(), tmp_path, *arguments):
        state = await until_state(data_dir, lambda _: True)
        yield Town(data_dir, state, Screen(chromium, "tenant"), Screen(chromium, "landlord"))
        await chromium.do("reset")


async def test_two_browsers_on_different_nodes_chat_and_one_node_is_killed_under_them(
    town: Town,
) -> None:
    await town.open()
    assert await town.sockets() == [1, 1, 0]
    await chat(town)
    for screen in town.screens:
        assert await screen.problems() == []

    # Each has something under way when the landlord's node dies; the cluster starts another.
    killed = town.state["nodes"][1]["pid"]
    texts = ["Is it still free?", "Yes, it is", *(f"{number}" for number in range(6))]
    for text in texts[2:]:
        await town.tenant.write(text)
    seeing = asyncio.create_task(town.landlord.locate("waitFor", at("banner")))  # not for long
    os.kill(killed, signal.SIGKILL)
    since = time.monotonic()
    await seeing
    await town.landlord.write("while it was away")
    await town.replaced(1, killed)
    await town.landlord.lacks("banner")
    print(f"the landlord was back after {time.monotonic() - since:.1f} s")
    await town.tenant.says("peer-status", "Online")
    await town.agree(*texts, "while it was away")
    await eventually(town.sockets, lambda counts: counts == [1, 1, 0])
    for screen in town.screens:
        assert await screen.problems(without_network=True) == []


async def chat(town: Town) -> None:
    """A message and its answer, with ticks and with typing; presence as one leaves."""
    tenant, landlord = town.screens
    await tenant.write("Is it still free?")
    await tenant.shows(("Is it still free?", "read"))
    await tenant.sees_typing(landlord)
    await landlord.write("Yes, it is")
    await town.agree("Is it still free?", "Yes, it is")
    await tenant.lacks("typing")
    await landlord.evaluate("void location.assign('about:blank')")
    await eventually(lambda: tenant.text("peer-status"), lambda said: "Online" not in said)
    await landlord.evaluate(f"void location.assign({json.dumps(town.state['links']['landlord'])})")
    await tenant.says("peer-status", "Online")
