"""Presence: leases of sockets, a change told once, and the truth after an outage."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from chatserver.db.engine import Database
from chatserver.dev.redis import EmbeddedRedis
from chatserver.errors import NotFound, RateLimited
from chatserver.events import PresenceChanged
from chatserver.models import Principal, Role
from tests.kit.leases import running_nodes
from tests.kit.patient import PATIENT
from tests.kit.proxy import postgres_upstream, running_proxy
from tests.kit.services import Chat, Node, running_node

LEASE, GRACE = 25.0, 2.0


class Clock:
    """What the leases take for the time: a test need not wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("chatserver.backplane.memory.time", clock)
    return clock


@pytest.fixture
async def node(database_url: str, clock: Clock) -> AsyncIterator[Node]:
    async with running_node(
        database_url, presence__lease_ttl=LEASE, presence__offline_grace=GRACE
    ) as node:
        yield node


@pytest.fixture
async def chat(node: Node) -> Chat:
    chat = await node.add_chat()
    node.publisher.clear()
    return chat


def told(node: Node, person: Principal) -> list[bool]:
    return [
        each.presence.is_online
        for each in node.publisher.of(PresenceChanged)
        if each.presence.user_id == person.user_id
    ]


async def connect(node: Node, user_id: UUID, socket_id: str) -> None:
    """A socket opens, and whoever is to hear of it has."""
    await node.presence.connected(user_id, socket_id)
    await node.presence.close()


async def test_the_first_socket_brings_a_user_online_and_the_last_takes_them_off(
    node: Node, chat: Chat, clock: Clock
) -> None:
    user = chat.client.user_id
    await connect(node, user, "phone")
    await connect(node, user, "laptop")
    assert told(node, chat.client) == [True]
    await node.presence.disconnected(user, "phone")
    clock.now += GRACE * 1.5
    await node.presence.expire()
    assert told(node, chat.client) == [True]
    await node.presence.disconnected(user, "laptop")
    await node.presence.expire()
    assert told(node, chat.client) == [True], "the grace is not over"
    clock.now += GRACE * 1.5
    await node.presence.expire()
    await node.presence.expire()
    assert told(node, chat.client) == [True, False]
    event = node.publisher.of(PresenceChanged)[-1]
    assert event.presence.last_seen_at == event.timestamp


async def test_a_page_reload_is_not_told(node: Node, chat: Chat, clock: Clock) -> None:
    user = chat.client.user_id
    await connect(node, user, "before")
    await node.presence.disconnected(user, "before")
    await connect(node, user, "after")
    clock.now += GRACE * 1.5
    await node.presence.expire()
    assert told(node, chat.client) == [True]
    assert (await node.presence.get(chat.owner, user)).is_online


async def test_a_socket_that_was_killed_ends_with_its_lease_and_a_live_one_goes_on(
    node: Node, chat: Chat, clock: Clock
) -> None:
    await connect(node, chat.client.user_id, "killed")
    await connect(node, chat.owner.user_id, "alive")
    for _ in range(3):
        clock.now += LEASE / 2
        await node.presence.renew([(chat.owner.user_id, "alive")])
        await node.presence.expire()
    assert told(node, chat.client) == [True, False]
    assert told(node, chat.owner) == [True]


async def test_those_who_share_a_conversation_and_the_host_see_presence(
    node: Node, chat: Chat
) -> None:
    user = chat.client.user_id
    never = await node.presence.get(chat.owner, user)
    assert (never.user_id, never.is_online, never.last_seen_at) == (user, False, None)
    await connect(node, user, "socket")
    now = await node.presence.get(chat.owner, user)
    assert now.is_online
    assert now.last_seen_at is not None
    assert (await node.presence.get(await node.add_user(Role.ADMIN), user)).is_online
    assert await node.presence.get(chat.client, user) == now
    for who, whom in (
        (await node.add_user(), user),
        (chat.owner, uuid4()),
        (await node.add_user(Role.SERVICE), uuid4()),
    ):
        with pytest.raises(NotFound):
            await node.presence.get(who, whom)


async def test_conversations_show_the_peers_presence(node: Node, chat: Chat) -> None:
    await connect(node, chat.client.user_id, "socket")
    seen_by_owner = (await node.view(chat.owner, chat)).peer_presence
    seen_by_client = (await node.view(chat.client, chat)).peer_presence
    assert seen_by_owner
    assert seen_by_client
    assert seen_by_owner.is_online
    assert seen_by_owner.last_seen_at is not None
    assert not seen_by_client.is_online
    listed = (await node.conversations.list(chat.owner, limit=5)).conversations
    assert listed[0].peer_presence == seen_by_owner


async def test_the_last_time_never_goes_back(node: Node, chat: Chat) -> None:
    user = chat.client.user_id
    await node.sql(
        "INSERT INTO chat.user_presence (user_id, last_seen_at)"
        " VALUES (:id, now() + interval '1h')",
        id=user,
    )
    before = (await node.presence.get(chat.owner, user)).last_seen_at
    await connect(node, user, "socket")
    assert (await node.presence.get(chat.owner, user)).last_seen_at == before


async def test_a_user_who_was_deleted_does_no_harm(node: Node, chat: Chat, clock: Clock) -> None:
    await connect(node, chat.client.user_id, "a")
    await connect(node, chat.owner.user_id, "b")
    await node.sql("DELETE FROM core.users WHERE id = :id", id=chat.client.user_id)
    clock.now += LEASE * 1.2
    await node.presence.expire()
    assert told(node, chat.owner) == [True, False]


async def test_while_the_database_is_away_a_change_waits_and_then_the_truth_is_told(
    database_url: str, clock: Clock
) -> None:
    async with (
        running_proxy(postgres_upstream(database_url)) as proxy,
        running_node(
            proxy.url(database_url), presence__lease_ttl=LEASE, presence__offline_grace=GRACE
        ) as node,
    ):
        chat = await node.add_chat()
        node.publisher.clear()
        await connect(node, chat.owner.user_id, "long since")
        proxy.refuse()
        await connect(node, chat.client.user_id, "stays")
        await node.presence.disconnected(chat.owner.user_id, "long since")
        clock.now += GRACE * 1.5
        await node.presence.renew([(chat.client.user_id, "stays")])
        await node.presence.expire()
        assert (told(node, chat.client), told(node, chat.owner)) == ([], [True])
        proxy.heal()
        await node.presence.expire()
        await node.presence.expire()
        assert (told(node, chat.client), told(node, chat.owner)) == ([True], [True, False])


async def test_a_user_cannot_open_more_sockets_than_allowed(
    database_url: str, clock: Clock
) -> None:
    async with running_node(database_url, realtime__max_sockets_per_user=2) as node:
        person = await node.add_user()
        await connect(node, person.user_id, "a")
        await connect(node, person.user_id, "b")
        with pytest.raises(RateLimited, match="too many open sockets") as refusal:
            await connect(node, person.user_id, "c")
        assert refusal.value.retry_after
        await node.presence.disconnected(person.user_id, "a")
        await connect(node, person.user_id, "c")


async def test_what_a_node_cannot_tell_another_does(
    database_url: str, redis_server: EmbeddedRedis, redis_prefix: str
) -> None:
    """The first node loses the database just when it was handed the change."""
    async with (
        running_nodes(redis_server, redis_prefix, PATIENT, claim_ttl=60.0) as redis,
        running_proxy(postgres_upstream(database_url)) as proxy,
        running_node(proxy.url(database_url), presence__offline_grace=0.0) as first,
        running_node(database_url) as second,
    ):
        for node in (first, second):
            node.presence._leases = redis.new()
        chat = await first.add_chat()
        await connect(first, chat.client.user_id, "socket")
        proxy.refuse()
        await first.presence.disconnected(chat.client.user_id, "socket")
        await asyncio.sleep(0.01)
        await first.presence.expire()
        await second.presence.expire()
        assert (told(first, chat.client), told(second, chat.client)) == ([True], [])
        await redis.end_claims()
        await second.presence.expire()
        await redis.end_claims()
        await second.presence.expire()
        assert (told(first, chat.client), told(second, chat.client)) == ([True], [False])


async def test_a_slow_answer_never_overwrites_a_newer_state(
    node: Node, chat: Chat, clock: Clock
) -> None:
    """Off and on again while the database is slow: whatever is told last is the truth."""
    user = chat.client.user_id
    await connect(node, user, "first")
    await node.presence.disconnected(user, "first")
    clock.now += GRACE * 1.5
    hurdle = Hurdle(node.database)
    node.presence._database = hurdle  # type: ignore[assignment]
    going_off = asyncio.create_task(node.presence.expire())
    await hurdle.reached.wait()
    node.presence._database = node.database
    await connect(node, user, "second")
    hurdle.open.set()
    await going_off
    assert told(node, chat.client)[-1] is True


class Hurdle:
    """A database that lets a transaction begin when it is told to."""

    def __init__(self, database: Database) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self._database = database

    def transaction(self) -> "Hurdle":
        return self

    async def __aenter__(self) -> object:
        self.reached.set()
        await self.open.wait()
        self._context = self._database.transaction()
        return await self._context.__aenter__()

    async def __aexit__(self, *exception: object) -> object:
        return await self._context.__aexit__(*exception)  # type: ignore[arg-type]


async def test_a_crowd_that_goes_at_once_is_told_in_one_transaction(
    node: Node, clock: Clock
) -> None:
    owner = await node.add_user(Role.OWNER)
    chats = [await node.add_chat(owner=owner) for _ in range(10)]
    for chat in chats:
        await connect(node, chat.client.user_id, "socket")
    node.publisher.clear()
    clock.now += LEASE * 1.2
    await node.presence.expire()
    events = node.publisher.of(PresenceChanged)
    assert {each.presence.user_id for each in events} == {chat.client.user_id for chat in chats}
    assert len(events) == len(chats)
    assert len({each.timestamp for each in events}) == 1


async def test_a_crowd_that_comes_at_once_is_told_in_one_transaction(
    database_url: str, clock: Clock
) -> None:
    async with running_node(
        database_url, database__pool_size=1, database__pool_timeout=0.001
    ) as node:
        people = [await node.add_user() for _ in range(20)]
        await asyncio.gather(*(connect(node, each.user_id, "a") for each in people))
        assert [told(node, each) for each in people] == [[True]] * len(people)
        assert len({each.timestamp for each in node.publisher.of(PresenceChanged)}) == 1
