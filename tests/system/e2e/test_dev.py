"""`chatserver dev`: from nothing to a chat, and the same chat again after every kind of end."""

import json
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientSession

from chatserver.dev.demo import DEMO_LISTINGS, DEMO_USERS, LANDLORD, TENANT
from chatserver.dev.ports import free_port
from tests.kit.clients import Answer, Rest
from tests.kit.processes import ServerProcess, run, started
from tests.kit.services import connected


def postgres_in(data_dir: Path) -> list[int]:
    """The processes of PostgreSQL that work there."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() == "postgres" and data_dir in Path(process.cwd()).parents:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


class Dev:
    """`chatserver dev` on one port and one directory; and what its dev.json tells."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.port = free_port()

    def start(self) -> Any:
        return started("dev", self.port, self.directory, "--data-dir", str(self.data_dir))

    @property
    def state(self) -> Any:
        return json.loads((self.data_dir / "dev.json").read_text())

    async def call(self, method: str, path: str, user: str, body: Any = None) -> Answer:
        """As a client does that knows nothing but dev.json."""
        headers = {"Authorization": f"Bearer {self.state['tokens'][user]}"}
        async with ClientSession() as http:
            rest = Rest(http, self.state["base_url"])
            return await rest.call(method, path, None, body, headers)

    async def texts(self, conversation_id: str, user: str) -> list[str]:
        path = f"conversations/{conversation_id}/messages?after_seq=0"
        return [message["content"] for message in (await self.call("GET", path, user)).body]

    def fails(self, port: int) -> str:
        """What another one on the same directory says."""
        done = run("dev", "--port", str(port), "--data-dir", str(self.data_dir))
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr


async def stop(server: ServerProcess) -> None:
    server.terminate()
    assert await server.exit_code() == 0


async def test_dev_serves_the_demo_and_keeps_what_was_written(tmp_path: Path) -> None:
    dev = Dev(tmp_path)
    tenant, landlord = str(TENANT.id), str(LANDLORD.id)
    async with dev.start() as server:
        assert_complete(dev.state, server.base_url)
        assert stat.S_IMODE((dev.data_dir / "dev.json").stat().st_mode) == 0o600
        assert server.base_url in server.log
        for user in dev.state["tokens"]:
            assert (await dev.call("GET", "unread-count", user)).body == {"unread_count": 0}
        listing = {"listing_id": str(DEMO_LISTINGS[0].id)}
        chat = (await dev.call("POST", "conversations", tenant, listing)).body["id"]
        path = f"conversations/{chat}/messages"
        assert (await dev.call("POST", path, tenant, {"content": "one"})).status == 201
        problem = dev.fails(free_port())
        assert "is in use by process" in problem
        assert problem.count("\n") == 1
        # What failed has not harmed the one that runs.
        async with connected(dev.state["database_url"]) as connection:
            assert await connection.fetchval("SELECT content FROM chat.messages") == "one"
        assert await dev.texts(chat, landlord) == ["one"]
        await stop(server)
    assert postgres_in(dev.data_dir) == []

    async with dev.start() as server:
        assert await dev.texts(chat, landlord) == ["one"]
        assert (await dev.call("POST", path, landlord, {"content": "two"})).status == 201
        server.kill()

    async with dev.start() as server:
        assert await dev.texts(chat, tenant) == ["one", "two"]
        server.process.send_signal(signal.SIGINT)  # Ctrl+C
        assert await server.exit_code() == 0
    assert postgres_in(dev.data_dir) == []

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problem = dev.fails(port)
    assert problem == f"chatserver: cannot listen on 127.0.0.1:{port}: address already in use\n"
    assert postgres_in(dev.data_dir) == []


def assert_complete(state: Any, base_url: str) -> None:
    assert state["base_url"] == base_url
    assert state["database_url"].startswith("postgresql://")
    users = {user["id"]: user for user in state["users"]}
    assert users.keys() == state["tokens"].keys() == {str(user.id) for user in DEMO_USERS}
    assert all(state["tokens"][user_id] == user["token"] for user_id, user in users.items())
    assert {listing["id"] for listing in state["listings"]} == {
        str(listing.id) for listing in DEMO_LISTINGS
    }
