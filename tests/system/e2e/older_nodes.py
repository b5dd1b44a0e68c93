"""Nodes of another commit beside ours, on one database and one Redis: `make older ARGS=COMMIT`.

Not a part of `make test`: it needs the history of git, and that commit's packages to be ours.
Everybody writes all the time; a tenant and their landlord are on nodes of different versions.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click
from aiohttp import ClientSession
from redis.asyncio import Redis

from bench.checkouts import CheckoutError, checked_out, known_settings
from chatserver.dev.ports import free_port
from chatserver.dev.postgres import EmbeddedPostgres
from chatserver.dev.redis import EmbeddedRedis
from chatserver.services.nodes import ALIVE, INTERVAL
from tests.kit.app import SECRET
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.processes import ServerProcess, run, started
from tests.kit.services import connected

ROOT: Final = Path(__file__).parents[3]
CHATS: Final = 8
HEARD: Final = 10.0
PAUSE: Final = 0.02
REQUIRED: Final = "\nchat_backplane_signatures_required 1\n"
SETTINGS: Final[Mapping[str, Any]] = {
    "rate_limit__messages": "",
    "rate_limit__conversations": "",
    "rate_limit__user": "",
    "rate_limit__address": "",
    "server__internal_port": 0,
    "server__public_metrics": True,
    "server__drain_delay": 0.5,
}


@dataclass
class Phase:
    """What was written in one of them, and how long it took until the other had it."""

    title: str
    sent: dict[str, float] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)

    def row(self) -> str:
        waits = sorted(self.waits)
        p99, longest = waits[int(len(waits) * 0.99)], waits[-1]
        return f"| {self.title} | {len(self.sent)} | {p99 * 1000:.0f} | {longest * 1000:.0f} |"


class Versions:
    """The database and the Redis that nodes of both versions share."""

    def __init__(self, database_url: str, redis_url: str, folder: Path, older: Path) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self._folder = folder
        self._older = older

    @asynccontextmanager
    async def serving(self, *, is_older: bool) -> AsyncIterator[ServerProcess]:
        checkout = self._older if is_older else None
        names = {f"CHAT_{name.replace('__', '_').upper()}": name for name in SETTINGS}
        known = known_settings(self._older, dict.fromkeys(names, "")) if is_older else names
        settings: dict[str, Any] = {names[name]: SETTINGS[names[name]] for name in known}
        settings["database__url"], settings["redis__url"] = self.database_url, self.redis_url
        async with started(
            *("serve", free_port(), self._folder, "--host", "127.0.0.1"),
            checkout=checkout,
            jwt__secret=SECRET,
            **settings,
        ) as server:
            yield server


@asynccontextmanager
async def phase(
    title: str, chats: list[Chat], database_url: str, *nodes: ServerProcess
) -> AsyncIterator[Phase]:
    """While it lasts, everybody writes; at its end, everybody has what the other wrote, once."""
    done, stop = Phase(title), asyncio.Event()
    async with ClientSession() as http:
        pairs = [
            [
                await Device.open(http, node.base_url, person)
                for node, person in zip(nodes, chat.people, strict=True)
            ]
            for chat in chats
        ]
        writers = [
            asyncio.create_task(_write(done, chat, device, other, stop))
            for chat, pair in zip(chats, pairs, strict=True)
            for device, other in (pair, pair[::-1])
        ]
        yield done
        stop.set()
        await asyncio.gather(*writers)
        for device in (device for pair in pairs for device in pair):
            heard = [message["id"] for message in device.of("message")]
            assert len(heard) == len(set(heard)), f"{title}: told twice"
            await device.close()
    async with connected(database_url) as connection:
        rows = await connection.fetch("SELECT client_msg_id FROM chat.messages")
    assert done.sent.keys() <= {str(row["client_msg_id"]) for row in rows}, f"{title}: lost"


async def _write(
    done: Phase, chat: Chat, device: Device, other: Device, stop: asyncio.Event
) -> None:
    """Send one message after the other, each once the other has the one before."""
    while not stop.is_set():
        key, began = str(uuid4()), time.monotonic()
        parts = {"conversation_id": chat.id, "content": "hello", "client_msg_id": key}
        answer = await device.call("message", parts)
        assert answer["ok"], answer
        done.sent[key] = began
        await other.until(partial(_has, answer["message"]["id"]), HEARD)
        done.waits.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE)


def _has(message_id: str, device: Device) -> bool:
    return any(message["id"] == message_id for message in reversed(device.of("message")))


async def metrics(node: ServerProcess) -> str:
    async with ClientSession() as http, http.get(f"{node.base_url}/metrics") as response:
        return await response.text()


async def compare(commit: str, seconds: float) -> list[Phase]:
    """Run all phases. Raises AssertionError when something was lost or told twice."""
    with (
        tempfile.TemporaryDirectory(prefix="chatserver-older-") as name,
        checked_out(ROOT, commit, Path(name)) as older,
    ):
        folder = Path(name)
        async with (
            EmbeddedPostgres(folder / "postgres", tcp=True) as postgres,
            EmbeddedRedis() as (redis),
        ):
            await postgres.create_database("chat")
            url = postgres.tcp_url("chat")
            secret = {"CHAT_JWT_SECRET": SECRET, "CHAT_DATABASE_URL": url}
            migrate = ("-m", "chatserver", "migrate")
            await asyncio.to_thread(lambda: older.python(*migrate, **secret))
            return await _update(Versions(url, redis.url, folder, older.root), seconds)


async def _update(versions: Versions, seconds: float) -> list[Phase]:
    """Older nodes are replaced one after the other, as in a rolling update."""
    url, phases = versions.database_url, list[Phase]()
    async with versions.serving(is_older=True) as first:
        async with versions.serving(is_older=True) as second:
            async with ClientSession() as http:
                rest = Rest(http, first.base_url)
                chats = [await open_chat(rest, url) for _ in range(CHATS)]
            async with phase("older and older, migrated meanwhile", chats, url, first, second) as p:
                await asyncio.sleep(seconds / 2)
                ran = await asyncio.to_thread(run, "migrate", database__url=url, jwt__secret=SECRET)
                assert ran.returncode == 0, ran.stderr
                await asyncio.sleep(seconds / 2)
            phases.append(p)
            second.terminate()
            assert await second.exit_code() == 0
        async with versions.serving(is_older=False) as newer:
            # Long enough for a node that would take the older one for gone.
            async with phase("older and newer", chats, url, first, newer) as p:
                await asyncio.sleep(max(seconds, ALIVE + 2 * INTERVAL))
            phases.append(p)
            assert REQUIRED not in await metrics(newer)
            first.terminate()
            assert await first.exit_code() == 0
            async with (
                versions.serving(is_older=False) as last,
                phase("newer and newer, signatures required", chats, url, newer, last) as p,
            ):
                began = time.monotonic()
                for node in (newer, last):
                    while REQUIRED not in await metrics(node):
                        assert time.monotonic() - began < 3 * ALIVE
                        await asyncio.sleep(0.5)
                p.title += f" after {time.monotonic() - began:.0f} s"
                await forge(versions.redis_url, chats[0])
                await asyncio.sleep(seconds)
                for node in (newer, last):
                    assert 'received_total{source="unsigned"} 1' in await metrics(node)
            phases.append(p)
    return phases


async def forge(redis_url: str, chat: Chat) -> None:
    """Speak as a node without a signature, to both who are in `chat`."""
    redis: Redis = Redis.from_url(redis_url)
    for person in chat.people:
        body = b'%032d:%d\n[["user:%b"],[]]\n42["message",{"id":"forged"}]'
        forged = body % (0, 10**17, str(person.id).encode())
        assert await redis.publish(f"chat:user:{person.id}", forged) > 0
    await redis.aclose()


@click.command()
@click.argument("commit")
@click.option("--seconds", default=10.0, show_default=True, help="How long each phase takes.")
def main(commit: str, seconds: float) -> None:
    """Run nodes of COMMIT, which sign nothing, beside ours, and print a table."""
    try:
        phases = asyncio.run(compare(commit, seconds))
    except CheckoutError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo("| | Messages | p99 of the delivery, ms | longest, ms |\n|---|---|---|---|")
    for each in phases:
        click.echo(each.row())


if __name__ == "__main__":
    main()
