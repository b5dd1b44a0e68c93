"""Fault 8: 2,000 sockets of a dead node (fewer in `make test`) come back at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.chaos.faults.light_users import LightUser, until_synced
from tests.chaos.faults.load_generator import LoadGenerator, p99
from tests.chaos.faults.records import Figure, is_for_table, linger, record
from tests.chaos.faults.sites import PATIENCE, Site, until
from tests.chaos.faults.virtual_users import LOST
from tests.kit.app import Person
from tests.kit.clients import Rest
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="package")

SOCKETS = 2000 if is_for_table() else 200
IN_SYNC = 30.0
"""Seconds: a promise of the product."""

WRITTEN_TO = 10
"""Every so many-th conversation gets a message while its people are away."""


async def test_the_sockets_of_a_dead_node_come_back_and_are_in_sync(
    site: Site, load: LoadGenerator
) -> None:
    # By way of HAProxy, so that all nodes do it.
    async with ClientSession(connector=TCPConnector(limit=20)) as http:
        rest = Rest(http, site.url)
        chats = await open_chats(rest, site.database_url, SOCKETS // 2)
        people = [person for _, *pair in chats for person in pair]
        async with connected_users(http, people, site.nodes[0].base_url) as users:
            with load.window() as window:
                for user in users:
                    user.url = site.url
                site.nodes[0].kill()
                written = chats[::WRITTEN_TO]
                await asyncio.gather(*(send(rest, who, chat_id) for chat_id, who, _ in written))
                back = await until_synced(users, 4 * IN_SYNC) - window.began_at
            level = await load.level()
            await linger(0.5)
            with suppress(TimeoutError):
                await until(lambda: are_level(users))
            wrong = [n for n, user in enumerate(users) if user.seq != expected(n)]
            assert wrong == []
    await load.settle()
    sends = load.overlapping(window)
    record(
        8,
        f"{SOCKETS:,} sockets come back at once",
        sends,
        Figure("all back and in sync", back, IN_SYNC),
        Figure("p99 of the others' acknowledgement", p99(sends)),
        Figure("all devices level after", level),
    )
    await site.nodes[0].restart()


async def send(rest: Rest, who: Person, chat_id: str) -> None:
    """Until it is acknowledged: the connection may have been the dead node's."""
    parts = {"content": "hello", "client_msg_id": str(uuid4())}
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(*LOST):
                answer = await rest.send(who, chat_id, **parts)
                if answer.status in (200, 201):
                    return
                assert answer.body["retryable"], answer
            await asyncio.sleep(0.2)


async def are_level(users: Sequence[LightUser]) -> bool:
    return all(user.seq == expected(number) for number, user in enumerate(users))


def expected(number: int) -> int:
    """How many messages are in the conversation of that user; there are two for each."""
    return 0 if number // 2 % WRITTEN_TO else 1


@asynccontextmanager
async def connected_users(
    http: ClientSession, people: list[Person], url: str
) -> AsyncIterator[list[LightUser]]:
    users = [LightUser(http, person.token(), url) for person in people]
    try:
        for number, user in enumerate(users):
            user.start(number / 1000)
        await until_synced(users, 4 * IN_SYNC)
        yield users
    finally:
        await asyncio.gather(*(user.leave() for user in users))


async def open_chats(rest: Rest, database_url: str, count: int) -> list[tuple[str, Person, Person]]:
    """So many conversations of two people each, none of them in two."""
    pairs = [(Person(uuid4()), Person(uuid4()), uuid4()) for _ in range(count)]
    async with connected(database_url) as connection:
        await connection.executemany(
            "INSERT INTO core.users (id) VALUES ($1)",
            [(person.id,) for pair in pairs for person in pair[:2]],
        )
        await connection.executemany(
            "INSERT INTO core.listings (id, owner_user_id, title) VALUES ($1, $2, 'A flat')",
            [(listing_id, landlord.id) for _, landlord, listing_id in pairs],
        )

    async def open_one(tenant: Person, landlord: Person, listing_id: UUID) -> str:
        body = {"listing_id": str(listing_id)}
        answer = await rest.post("conversations", tenant, body)
        while answer.status == 503:
            await asyncio.sleep(0.2)
            answer = await rest.post("conversations", tenant, body)
        assert answer.status in (200, 201), answer
        return str(answer.body["id"])

    ids = await asyncio.gather(*(open_one(*pair) for pair in pairs))
    return [(id_, tenant, landlord) for id_, (tenant, landlord, _) in zip(ids, pairs, strict=True)]
