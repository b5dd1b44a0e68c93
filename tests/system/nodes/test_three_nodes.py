"""What holds for a user over three nodes behind HAProxy: limits, revocation, notices, presence."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from chatserver.auth.tokens import issue
from chatserver.dev.redis import EmbeddedRedis
from chatserver.models import Role
from tests.kit.app import SECRET, Person, add_person
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.cluster import Cluster, running_cluster
from tests.kit.postgres import Databases
from tests.kit.stalls import PATIENCE

LEASE = 8.0
"""Seconds; shorter than in production, so that the test is too."""

OFFLINE_WITHIN = LEASE + 5.0
"""Seconds: what is promised for those whose node has died."""

MOST_SOCKETS = 9


@dataclass(frozen=True)
class Town:
    """Three nodes, reached one by one or by way of the balancer."""

    cluster: Cluster
    database_url: str
    http: ClientSession

    @property
    def urls(self) -> list[str]:
        return [node.base_url for node in self.cluster.nodes]

    @property
    def balanced(self) -> Rest:
        return Rest(self.http, self.cluster.balancer.base_url)

    async def open(self, person: Person, *urls: str, token: str | None = None) -> list[Device]:
        return [await Device.open(self.http, url, person, token) for url in urls]

    async def chat(self) -> Chat:
        return await open_chat(self.balanced, self.database_url)


@pytest.fixture(scope="module")
async def town(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    async with databases.migrated() as url, running_town(url, tmp_path_factory.mktemp("t")) as town:
        yield town


@asynccontextmanager
async def running_town(database_url: str, directory: Path) -> AsyncIterator[Town]:
    settings: dict[str, Any] = {
        "rate_limit__messages": "60/minute",
        "realtime__max_sockets_per_user": MOST_SOCKETS,
        "presence__lease_ttl": LEASE,
        "program": ("tests.kit.patient", "chatserver"),
    }
    async with (
        EmbeddedRedis() as redis,
        running_cluster(database_url, redis.url, directory, **settings) as cluster,
        ClientSession() as http,
    ):
        yield Town(cluster, database_url, http)


async def close(devices: Sequence[Device]) -> None:
    for device in devices:
        await device.close()


async def settle(devices: Sequence[Device]) -> None:
    """What another node has published arrives, and then what was sent to these sockets."""
    await asyncio.sleep(0.3)
    for device in devices:
        assert (await device.call("settle", {}))["error"]["code"] == "unknown_event"


# Limits


async def test_sixty_one_messages_over_sockets_nodes_and_forged_addresses_are_one_bucket(
    town: Town,
) -> None:
    chat = await town.chat()
    text = {"conversation_id": chat.id, "content": "hello"}
    path = f"conversations/{chat.id}/messages"
    devices = await town.open(chat.tenant, *town.urls, *town.urls)
    edges = [Rest(town.http, url) for url in (*town.urls, town.balanced.base_url)]

    async def over_socket(device: Device) -> str:
        answer = await device.call("message", text)
        return "stored" if answer["ok"] else str(answer["error"]["code"])

    async def over_rest(edge: Rest, number: int) -> str:
        forged = {"X-Forwarded-For": f"203.0.113.{number}"}
        body = {"content": "hello"}
        answer = await edge.call("POST", path, chat.tenant, body, forged)
        if answer.status == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        return "stored" if answer.status == 201 else str(answer.body["code"])

    sends = [over_socket(device) for device in devices * 8]
    sends += [over_rest(edges[number % 4], number) for number in range(32)]
    outcomes = await asyncio.gather(*sends)
    assert (outcomes.count("stored"), outcomes.count("rate_limited")) == (60, 20)
    assert {await over_socket(device) for device in devices} == {"rate_limited"}
    assert {await over_rest(edge, 99) for edge in edges} == {"rate_limited"}
    assert (await town.balanced.send(chat.landlord, chat.id, content="hi")).body["seq"] == 61
    await close(devices)


async def test_a_user_has_so_many_sockets_over_all_nodes_and_no_more(town: Town) -> None:
    person, other = [await add_person(town.database_url) for _ in range(2)]
    outcomes = await asyncio.gather(
        *(Device.open(town.http, url, person) for url in town.urls * 6), return_exceptions=True
    )
    devices = [each for each in outcomes if isinstance(each, Device)]
    refused = [each for each in outcomes if isinstance(each, ConnectionRefusedError)]
    assert (len(devices), len(refused)) == (MOST_SOCKETS, 18 - MOST_SOCKETS)
    assert {error.args[0]["code"] for error in refused} == {"rate_limited"}
    await close(await town.open(other, *town.urls))
    # One that closes makes room on every other node.
    await devices[0].close()
    async with asyncio.timeout(PATIENCE):
        while len(devices) == MOST_SOCKETS:
            with suppress(ConnectionRefusedError):
                devices += await town.open(person, town.cluster.balancer.base_url)
    with pytest.raises(ConnectionRefusedError):
        await town.open(person, town.urls[2])
    await close(devices)


# What one node is told, all do


async def test_a_revoked_token_ends_on_every_node_and_at_the_balancer(town: Town) -> None:
    person = await add_person(town.database_url)
    admin = await add_person(town.database_url, Role.ADMIN)
    token = issue(SECRET, person.id, person.role, 3600, token_id=f"of {person.id}")
    revoked = await town.open(person, *town.urls, town.balanced.base_url, token=token)
    kept = await town.open(person, *town.urls)
    answer = await town.balanced.post("revocations", admin, {"jti": f"of {person.id}"})
    assert answer.status < 300, answer
    for device in revoked:
        assert (await device.heard("error"))[0]["code"] == "unauthorized"
        async with asyncio.timeout(PATIENCE):
            await device.is_closed.wait()
    headers = {"Authorization": f"Bearer {token}"}
    for url in (*town.urls, town.balanced.base_url):
        got = await Rest(town.http, url).call("GET", "unread-count", headers=headers)
        assert got.status == 401
        with pytest.raises(ConnectionRefusedError):
            await town.open(person, url, token=token)
    await settle(kept)
    await close(kept)


async def test_a_notice_reaches_every_socket_of_every_node_once(town: Town) -> None:
    people = [await add_person(town.database_url) for _ in range(3)]
    devices = [device for person in people for device in await town.open(person, *town.urls)]
    host = await add_person(town.database_url, Role.SERVICE)
    assert (await town.balanced.post("notices", host, {"content": "Soon"})).status == 202
    for device in devices:
        await device.heard("notice")
    await settle(devices)
    assert [[each["content"] for each in device.of("notice")] for device in devices] == [
        ["Soon"]
    ] * 9
    await close(devices)


# Presence


def online(watcher: Device, person: Person) -> list[bool]:
    """What it was told of that person, in order."""
    return [
        told["is_online"] for told in watcher.of("presence") if told["user_id"] == str(person.id)
    ]


async def test_a_user_is_online_and_offline_once_over_three_nodes(town: Town) -> None:
    chat = await town.chat()
    watchers = await town.open(chat.landlord, *town.urls)
    for watcher in watchers:
        assert (await watcher.call("join", {"conversation_id": chat.id}))["ok"]
    devices = await town.open(chat.tenant, *town.urls, town.balanced.base_url)
    for watcher in watchers:
        await watcher.heard("presence")
    # Moved from node to node, as with a page that is loaded again.
    await devices[0].close()
    devices += await town.open(chat.tenant, town.urls[1])
    await asyncio.sleep(2.5)
    assert [online(watcher, chat.tenant) for watcher in watchers] == [[True]] * 3
    await close(devices[1:])
    for watcher in watchers:
        await watcher.heard("presence", 2)
    await settle(watchers)
    assert [online(watcher, chat.tenant) for watcher in watchers] == [[True, False]] * 3
    await close(watchers)


async def test_those_of_a_killed_node_are_offline_when_their_leases_end(town: Town) -> None:
    """Unless they are on another node too, or come back. Last, since a node dies."""
    gone, twice, back = [await town.chat() for _ in range(3)]
    chats = (gone, twice, back)
    await town.balanced.send(gone.tenant, gone.id, content="Hello")
    watchers = [(await town.open(chat.landlord, town.urls[number % 2]))[0]
                for number, chat in enumerate(chats)]  # fmt: skip
    for watcher, chat in zip(watchers, chats, strict=True):
        assert (await watcher.call("join", {"conversation_id": chat.id}))["ok"]
    lost = [(await town.open(chat.tenant, town.urls[2]))[0] for chat in chats]
    kept = await town.open(twice.tenant, town.urls[0])
    for watcher in watchers:
        await watcher.heard("presence")
    town.cluster.nodes[2].kill()
    since = time.monotonic()
    kept += await town.open(back.tenant, town.balanced.base_url)
    async with asyncio.timeout(PATIENCE):
        while online(watchers[0], gone.tenant) != [True, False]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    seen = await town.balanced.get(f"users/{gone.tenant.id}/presence", gone.landlord)
    assert seen.body["is_online"] is False
    await asyncio.sleep(max(since + OFFLINE_WITHIN - time.monotonic(), 0.0))
    assert online(watchers[1], twice.tenant) == [True]
    assert online(watchers[2], back.tenant) == [True]
    await town.cluster.nodes[2].restart()
    await close([*watchers, *lost, *kept])
