"""Fault 10: nodes whose clocks are an hour apart. Only tokens end by a node's clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby, pairwise
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from chatserver.auth.tokens import issue
from chatserver.models import Role
from tests.chaos.faults.load_generator import LoadGenerator, Send, p99
from tests.chaos.faults.records import Figure, is_for_table, linger, record
from tests.chaos.faults.sites import PATIENCE, Site, running_site, until
from tests.kit.app import SECRET, Person, add_person
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="package")

WRONG = (-1800, 0, 1800)
"""By how many seconds each node's clock is wrong."""

HEARD = 10.0
"""Seconds: every device has a message by then."""

REVOKED = 5.0
"""Seconds after which no node accepts what was revoked on another."""

LEASE = 6.0
"""Seconds; shorter than in production, so that the test is too."""

OFFLINE = 5.0
"""Seconds after the end of a lease, or of a socket, until everybody has been told."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with (
        databases.migrated() as url,
        running_site(url, directory, presence__lease_ttl=LEASE) as running,
    ):
        for node, seconds in zip(running.nodes, WRONG, strict=True):
            node.settings["program"] = ("tests.kit.wrong_clocks", str(seconds), "chatserver")
        await asyncio.gather(*(node.restart() for node in running.nodes))
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def rests(site: Site) -> AsyncIterator[list[Rest]]:
    """One for each node."""
    async with ClientSession() as http:
        yield [Rest(http, node.base_url) for node in site.nodes]


async def error_of(rest: Rest) -> float:
    """By how many seconds the node's clock is wrong, as the node itself has it."""
    told = parsedate_to_datetime((await rest.get("/healthz")).headers["Date"])
    return (told - datetime.now(UTC)).total_seconds()


def overtaken(sends: Sequence[Send]) -> list[Send]:
    """Those that began after another was acknowledged whose seq is not smaller."""
    found = list[Send]()
    earliest_end: dict[str, float] = {}
    for send in sorted(sends, key=lambda each: -each.seq):
        if earliest_end.get(send.chat.id, float("inf")) < send.begun_at:
            found.append(send)
        earliest_end[send.chat.id] = min(
            send.ended_at, earliest_end.get(send.chat.id, float("inf"))
        )
    return found


async def test_messages_have_the_order_in_which_they_were_sent(
    site: Site, load: LoadGenerator, rests: list[Rest]
) -> None:
    errors = [await error_of(rest) for rest in rests]
    assert errors == pytest.approx(WRONG, abs=60)
    with load.window() as window:
        await linger(3)
        await load.until_enough(window)
        chat = load.chats[0]
        for sender in rests:
            for other in rests:
                await change(chat, sender, other, load)
    await load.settle()
    sends = load.overlapping(window)
    async with connected(site.database_url) as connection:
        rows = await connection.fetch(
            "SELECT id, created_at FROM chat.messages ORDER BY conversation_id, created_at"
        )
        assert rows == await connection.fetch(
            "SELECT id, created_at FROM chat.messages ORDER BY conversation_id, seq"
        )
        now = await connection.fetchval("SELECT clock_timestamp()")
    made = [UUID(str(row["id"])).int >> 80 for row in rows]
    assert (max(made) - min(made)) / 1000 > 3600, "ids are made by the nodes' clocks"
    ages = [(now - row["created_at"]).total_seconds() for row in rows]
    record(
        10,
        "clocks an hour apart: people write",
        sends,
        Figure("clocks apart", max(errors) - min(errors)),
        Figure("sends out of order", len(overtaken(load.sends)), 0, unit=""),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )
    assert min(ages) >= 0, "a message is from the future"
    assert max(ages) < 300, "a message is from the past"


async def change(chat: Chat, sender: Rest, other: Rest, load: LoadGenerator) -> None:
    """A message that one node stored is found by its id, which another one asks for."""
    send = Send(chat)
    load.sends.append(send)
    sent = await sender.send(chat.tenant, chat.id, **send.parts)
    send.acknowledge({"message": sent.body, "duplicate": sent.status == 200})
    edited = await other.call("PATCH", f"messages/{send.id}", chat.tenant, {"content": "changed"})
    assert (edited.status, edited.body["seq"]) == (200, send.seq)
    read = await other.call("PATCH", f"messages/{send.id}/read", chat.landlord)
    assert read.status == 200


async def test_tokens_are_accepted_and_revoked_on_every_node(
    site: Site, load: LoadGenerator, rests: list[Rest]
) -> None:
    admin = await add_person(site.database_url, Role.SERVICE)
    user = await add_person(site.database_url)
    longest = 0.0
    with load.window() as window:
        for rest in rests:
            assert await statuses(rests, user.token(ttl=-3600)) == [401, 401, 401]
            token = user.token()
            assert await statuses(rests, token) == [200, 200, 200]
            await revoke(rest, admin, user_id=str(user.id))
            longest = max(longest, await until_refused(rests, token))
            await asyncio.sleep(1)  # a token of the same second is refused too
            assert await statuses(rests, user.token()) == [200, 200, 200]
    await load.settle()
    record(
        10,
        "clocks an hour apart: tokens are revoked",
        load.overlapping(window),
        Figure("refused by every node after", longest, REVOKED),
    )
    assert load.away(window) == [], "nobody else was thrown out"


async def test_a_token_that_ends_soon_is_revoked_on_every_node(
    site: Site, load: LoadGenerator, rests: list[Rest]
) -> None:
    """In ten minutes: the node ahead refuses it already, the one behind will for long not."""
    admin = await add_person(site.database_url, Role.SERVICE)
    user = await add_person(site.database_url)
    longest = 0.0
    with load.window() as window:
        for number, rest in enumerate(rests):
            token = issue(SECRET, user.id, user.role, 600, token_id=f"soon {number}")
            assert await statuses(rests, token) == [200, 200, 401]
            end = datetime.now(UTC) + timedelta(seconds=600)
            await revoke(rest, admin, jti=f"soon {number}", expires_at=end.isoformat())
            longest = max(longest, await until_refused(rests, token))
        await load.until_enough(window)
    await load.settle()
    record(
        10,
        "clocks an hour apart: tokens that end soon are revoked",
        load.overlapping(window),
        Figure("refused by every node after", longest, REVOKED),
    )


async def revoke(rest: Rest, admin: Person, **what: str) -> None:
    answer = await rest.post("revocations", admin, what)
    assert answer.status in (200, 201), answer


async def until_refused(rests: Sequence[Rest], token: str) -> float:
    """By all of them: the seconds."""

    async def is_refused() -> bool:
        return await statuses(rests, token) == [401, 401, 401]

    return await until(is_refused)


async def statuses(rests: Sequence[Rest], token: str) -> list[int]:
    """How each node answers who comes with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    return [(await rest.call("GET", "unread-count", headers=headers)).status for rest in rests]


@dataclass(frozen=True)
class Watch:
    """What a device of `user`'s peer, on each node, has heard of their presence."""

    devices: Sequence[Device]
    user: Person

    def of(self, device: Device) -> list[dict[str, Any]]:
        return [each for each in device.of("presence") if each["user_id"] == str(self.user.id)]

    def states(self, device: Device) -> list[bool]:
        """Online or not, in this order, as a client has it that drops what is older than what
        it knows. One may be told again, by two nodes too: after a call to Redis failed.
        """
        states, newest = list[bool](), ""
        for told in self.of(device):
            if told["timestamp"] >= newest:
                newest = told["timestamp"]
                states.append(told["is_online"])
        return [state for state, _ in groupby(states)]

    async def until_told(self, *states: bool) -> None:
        """Until each has heard exactly that."""
        for device in self.devices:
            await device.until(lambda each: len(self.states(each)) >= len(states), PATIENCE)
            assert self.states(device) == list(states)


@pytest_asyncio.fixture(loop_scope="package")
async def watch(site: Site, rests: list[Rest]) -> AsyncIterator[Watch]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession())
        chat = await open_chat(rests[1], site.database_url)
        devices = []
        for node in site.nodes:
            device = await Device.open(http, node.base_url, chat.landlord)
            stack.push_async_callback(device.close)
            assert (await device.call("join", {"conversation_id": chat.id}))["ok"]
            devices.append(device)
        yield Watch(devices, chat.tenant)


async def test_people_are_online_for_as_long_as_they_are(
    site: Site, load: LoadGenerator, rests: list[Rest], watch: Watch
) -> None:
    """On the node ahead, then on the others; each time for longer than a lease."""
    states = list[bool]()
    longest = 0.0
    async with ClientSession() as http:
        with load.window() as window:
            for node in reversed(site.nodes if is_for_table() else site.nodes[2:]):
                device = await Device.open(http, node.base_url, watch.user)
                states.append(True)
                await watch.until_told(*states)
                await asyncio.sleep(1.2 * LEASE)
                await watch.until_told(*states)
                await device.close()
                began_at = time.monotonic()
                states.append(False)
                await watch.until_told(*states)
                longest = max(longest, time.monotonic() - began_at)
    await load.settle()
    for device in watch.devices:
        times = [datetime.fromisoformat(told["timestamp"]) for told in watch.of(device)]
        back = [before - after for before, after in pairwise(times)]
        assert max(back) < timedelta(minutes=1), "a client drops what is older than what it knows"
    record(
        10,
        "clocks an hour apart: people come and go",
        load.overlapping(window),
        Figure("offline told to all after", longest, OFFLINE),
    )


async def test_people_of_a_killed_node_go_offline(
    site: Site, load: LoadGenerator, watch: Watch
) -> None:
    """The one whose clock is ahead: by it their leases would end in half an hour."""
    async with ClientSession() as http:
        device = await Device.open(http, site.nodes[2].base_url, watch.user)
        await watch.until_told(True)
        remaining = Watch(watch.devices[:2], watch.user)
        with load.window() as window:
            site.nodes[2].kill()
            began_at = time.monotonic()
            await remaining.until_told(True, False)
            offline = time.monotonic() - began_at
        await device.close()
    await load.settle()
    await site.nodes[2].restart()
    record(
        10,
        "clocks an hour apart: the node ahead is killed",
        load.overlapping(window),
        Figure("its people offline after", offline, LEASE + OFFLINE),
    )
