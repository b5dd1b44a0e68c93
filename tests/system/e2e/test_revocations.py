"""Revoked on one node: refused and closed on every node. And notices."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from chatserver.auth.tokens import issue
from chatserver.errors import Unauthorized
from chatserver.models import Role
from tests.kit.app import SECRET, Person, RunningServer, add_person, running_server
from tests.kit.clients import TIMEOUT, Answer, Device, Rest
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy
from tests.kit.services import connected, until_someone_waits
from tests.kit.stalls import PATIENCE


def token_with(person: Person, token_id: str | None) -> str:
    return issue(SECRET, person.id, person.role, 3600, token_id=token_id)


class Site:
    """Two nodes on one database; the second reaches it by way of `link`."""

    def __init__(self, http: ClientSession, one: RunningServer, two: RunningServer) -> None:
        self.one, self.two = one, two
        self.http = http
        self.database_url = one.database_url
        self.admin: Person
        self.person: Person

    async def device(
        self, server: RunningServer, person: Person | None = None, token_id: str | None = None
    ) -> Device:
        person = person or self.person
        token = token_with(person, token_id)
        return await Device.open(self.http, server.base_url, person, token)

    async def tell(self, path: str, body: Any, method: str = "POST") -> Answer:
        """What the admin says to the first node."""
        answer = await Rest(self.http, self.one.base_url).call(method, path, self.admin, body)
        assert answer.status < 300, answer
        return answer

    async def status(self, server: RunningServer, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        rest = Rest(self.http, server.base_url)
        return (await rest.call("GET", "unread-count", headers=headers)).status


@pytest.fixture
async def link(database_url: str) -> AsyncIterator[Proxy]:
    """Between the second node and the database."""
    async with running_proxy(postgres_upstream(database_url)) as proxy:
        yield proxy


@pytest.fixture
async def site(database_url: str, link: Proxy) -> AsyncIterator[Site]:
    async with (
        running_server(database_url) as one,
        running_server(link.url(database_url)) as two,
        ClientSession() as http,
    ):
        site = Site(http, one, two)
        site.admin = await add_person(database_url, Role.ADMIN)
        site.person = await add_person(database_url)
        yield site


async def closed(*devices: Device) -> None:
    """Each was told why, ended for good, and heard nothing more."""
    for device in devices:
        await device.heard("error")
        # It lingers for a moment, so that the client can read why.
        async with asyncio.timeout(TIMEOUT):
            await device.is_closed.wait()
        assert device.events[-1] == ("error", Unauthorized().to_dict())


async def test_sockets_of_a_revoked_token_are_closed_on_every_node(site: Site) -> None:
    revoked = [await site.device(server, token_id="it") for server in (site.one, site.two)]
    kept = [await site.device(server, token_id="other") for server in (site.one, site.two)]
    kept += [await site.device(server) for server in (site.one, site.two)]
    await site.tell("revocations", {"jti": "it"})
    await closed(*revoked)
    for server in (site.one, site.two):
        assert await site.status(server, token_with(site.person, "it")) == 401
        assert await site.status(server, token_with(site.person, "other")) == 200
        with pytest.raises(ConnectionRefusedError) as refused:
            await site.device(server, token_id="it")
        assert refused.value.args[0] == Unauthorized().to_dict()
    for device in kept:
        assert (await device.call("sync", {}))["ok"]
        await device.close()


async def test_sockets_of_a_revoked_user_are_closed_on_every_node(site: Site) -> None:
    stranger = await site.device(site.two, await add_person(site.database_url))
    devices = [
        await site.device(server, token_id=token_id)
        for server in (site.one, site.two)
        for token_id in ("it", None)
    ]
    token = token_with(site.person, None)
    answer = await site.tell("revocations", {"user_id": str(site.person.id)})
    await closed(*devices)
    for server in (site.one, site.two):
        assert await site.status(server, token) == 401
    assert (await stranger.call("sync", {}))["ok"]
    await stranger.close()

    await site.tell(f"revocations/{answer.body['id']}", None, "DELETE")
    assert await site.status(site.one, token) == 200
    async with asyncio.timeout(PATIENCE):
        while await site.status(site.two, token) != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
async def test_it_is_heard_when_the_database_was_away_for_a_moment(
    site: Site, link: Proxy, fault: str
) -> None:
    device = await site.device(site.two, token_id="it")
    getattr(link, fault)()
    await site.tell("revocations", {"jti": "it"})
    await asyncio.sleep(1.0)
    assert not device.of("error")
    link.heal()
    await closed(device)


async def test_sockets_of_a_user_who_was_deleted_are_closed_on_every_node(site: Site) -> None:
    devices = [await site.device(server) for server in (site.one, site.two)]
    stranger = await site.device(site.two, await add_person(site.database_url))
    async with connected(site.database_url) as connection:
        await connection.execute("DELETE FROM core.users WHERE id = $1", site.person.id)
    await closed(*devices)
    for server in (site.one, site.two):
        assert await site.status(server, token_with(site.person, None)) == 401
    assert (await stranger.call("sync", {}))["ok"]
    await stranger.close()


async def test_a_revoked_token_does_not_renew_a_socket_and_a_renewed_one_stays(site: Site) -> None:
    device = await site.device(site.one, token_id="first")
    await site.tell("revocations", {"jti": "second"})
    refused = await device.call("authenticate", {"token": token_with(site.person, "second")})
    assert refused == {"ok": False, "error": Unauthorized().to_dict()}
    assert (await device.call("authenticate", {"token": token_with(site.person, "third")}))["ok"]
    await site.tell("revocations", {"jti": "first"})
    assert (await device.call("sync", {}))["ok"]
    await site.tell("revocations", {"jti": "third"})
    await closed(device)


async def test_a_socket_whose_token_is_revoked_while_it_opens_is_closed(site: Site) -> None:
    """Its token was looked at before, and it is no open socket yet."""
    async with connected(site.database_url) as connection:
        await connection.execute("BEGIN")
        await connection.execute("LOCK TABLE chat.user_presence IN EXCLUSIVE MODE")
        opening = asyncio.create_task(site.device(site.one, token_id="it"))
        await until_someone_waits(connection)
        await site.tell("revocations", {"jti": "it"})
        await connection.execute("COMMIT")
    await closed(await opening)
    assert site.one.node.open_sessions.open_sockets() == []


async def test_a_revocation_made_before_a_node_starts_holds_there_from_the_start(
    site: Site,
) -> None:
    await site.tell("revocations", {"jti": "it"})
    async with running_server(site.database_url) as late:
        assert await site.status(late, token_with(site.person, "it")) == 401


async def test_the_node_that_is_told_of_it_does_not_wait_for_its_next_poll(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.app.POLL_INTERVAL", 3600.0)
    async with running_server(database_url) as only, ClientSession() as http:
        site = Site(http, only, only)
        site.admin = await add_person(database_url, Role.ADMIN)
        site.person = await add_person(database_url)
        device = await site.device(only, token_id="it")
        await site.tell("revocations", {"jti": "it"})
        await closed(device)
        assert await site.status(only, token_with(site.person, "it")) == 401


# Notices


async def test_a_notice_reaches_every_socket_once(site: Site) -> None:
    devices = [await site.device(site.one) for _ in range(2)]
    devices.append(await site.device(site.one, site.admin))
    body = {"content": "  Down at <b>14:00</b> ", "data": {"kind": "maintenance", "at": [1, None]}}
    await site.tell("notices", body)
    for device in devices:
        (notice,) = await device.heard("notice")
        assert notice.pop("timestamp").endswith("Z")
        assert notice == {"content": "Down at 14:00", "data": body["data"]}
        assert (await device.call("sync", {}))["ok"]
        assert len(device.of("notice")) == 1
        await device.close()


async def test_a_notice_to_some_reaches_their_devices_alone(site: Site) -> None:
    devices = [await site.device(site.one) for _ in range(2)]
    stranger = await site.device(site.one, await add_person(site.database_url))
    user_ids = [str(site.person.id)] * 2
    await site.tell("notices", {"content": "Your account is verified.", "user_ids": user_ids})
    for device in devices:
        (notice,) = await device.heard("notice")
        assert (notice["content"], notice["data"]) == ("Your account is verified.", None)
        assert (await device.call("sync", {}))["ok"]
        assert len(device.of("notice")) == 1
        await device.close()
    assert (await stranger.call("sync", {}))["ok"]
    assert not stranger.of("notice")
    await stranger.close()
