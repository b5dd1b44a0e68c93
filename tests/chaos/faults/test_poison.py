"""Fault 15: a message that PostgreSQL refuses, and events on Redis that nobody can read."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from chatserver.backplane.signatures import Key, Signatures
from chatserver.realtime.python_socketio import SOCKETIO_CHANNEL
from chatserver.realtime.room_names import user_room
from chatserver.sio.adapter import EVERYONE
from tests.chaos.faults.load_generator import LoadGenerator, Say, over_rest, p99, slowest
from tests.chaos.faults.records import ENOUGH, Figure, is_for_table, linger, record
from tests.chaos.faults.sites import Site, until
from tests.kit.clients import Rest
from tests.kit.redis import redis_client
from tests.kit.services import connected

pytestmark = pytest.mark.asyncio(loop_scope="package")

POISON = "poison"
SECONDS = 5.0 if is_for_table() else 1.0
ACKNOWLEDGED = 1.0
"""Seconds: p99 of the others' acknowledgements."""

HEARD = 10.0

INVALID = 'chat_backplane_received_total{source="invalid"}'
LOST = "chat_backplane_lost_total"
NODE = b"0" * 32
"""Who is said to have sent the events."""

EVENTS = (
    b"",
    b"no envelope",
    b"null",
    b"[" * 100_000,
    b"[[],[]]\n\xff\xfe",
    b'[[1],[]]\n42["message",{}]',
    b'{"rooms":[]}\n42["message",{}]',
    b'[["%(room)b"],[]]\n42{"message":{}}',
    b'[["%(room)b"],[]]\n42[{},{}]',
    b'[["%(room)b"],[]]\n42["unread",{}]',
    b'[["%(room)b"],[]]\n42["unread",{"conversation_id":"%(room)b","version":"new"}]',
    b'[["%(room)b"],{}]\n42["unread",null]',
    b'{"method":"emit"}',
    b'{"method":"emit","event":"message","data":{},"namespace":"/","room":{}}',
    b'{"method":"disconnect","sid":[]}',
)
"""Their bodies; `room` is somebody's."""

Operation = Callable[[], Coroutine[Any, Any, None]]


@pytest_asyncio.fixture(loop_scope="package", autouse=True)
async def _dislike(site: Site) -> AsyncIterator[None]:
    """PostgreSQL refuses texts that begin so; the server does not know."""
    async with connected(site.database_url) as connection:
        await connection.execute(
            "ALTER TABLE chat.messages"
            f" ADD CONSTRAINT dislike CHECK (content NOT LIKE '{POISON}%') NOT VALID"
        )
        yield
        await connection.execute("ALTER TABLE chat.messages DROP CONSTRAINT dislike")


@asynccontextmanager
async def repeated(*operations: Operation) -> AsyncIterator[None]:
    """Each does the same again and again."""

    async def keep_doing(operation: Operation) -> None:
        while True:
            await operation()
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep_doing(operation)) for operation in operations]
        yield
        for task in tasks:
            task.cancel()


async def test_a_message_that_is_refused_fails_alone(site: Site, load: LoadGenerator) -> None:
    """Among those of the load, in the same conversations and so in the same statements."""
    answers: list[Any] = []

    def saying(say: Say) -> Operation:
        async def operation() -> None:
            key = str(uuid4())
            answers.append(await say({"content": f"{POISON} {key}", "client_msg_id": key}))

        return operation

    async def are_answered() -> bool:
        return len(answers) >= ENOUGH

    async with ClientSession() as http:
        rests = [Rest(http, node.base_url) for node in site.nodes]
        operations = [saying(user.say) for user in load.users[::2]]
        operations += [saying(over_rest(rest, load.chats[n])) for n, rest in enumerate(rests)]
        await linger(0.5)
        with load.window() as window:
            async with repeated(*operations):
                await asyncio.sleep(SECONDS)
                await load.until_enough(window)
    await load.settle()
    assert {(answer["ok"], answer["error"]["code"]) for answer in answers} == {
        (False, "internal_error")
    }
    assert not any(POISON in node.log for node in site.nodes)
    assert load.away(window) == []
    sends = load.overlapping(window)
    assert [send for send in sends if send.refusals] == []
    record(
        15,
        "messages that PostgreSQL refuses",
        sends,
        Figure("refused", len(answers), unit=""),
        Figure("p99 of the others' acknowledgement", p99(sends), ACKNOWLEDGED),
        Figure("longest send", slowest(sends), 5.0),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )


async def test_events_that_cannot_be_read_keep_no_other_back(
    site: Site, load: LoadGenerator
) -> None:
    people = itertools.cycle(user.person for user in load.users)
    number = itertools.count(1)
    signatures = await keys_of(site)
    async with redis_client(site.redis) as redis:

        async def publish(channel: str, body: bytes) -> None:
            """As a node with a fault would: what is not signed is dropped before it is read."""
            signed = signatures.sign(f"chat:{channel}".encode(), body)
            await redis.publish(f"chat:{channel}", signed)

        async def forge() -> None:
            """Every event with and without the name of a node, on every kind of channel."""
            room = user_room(next(people).id)
            for event in EVENTS:
                body = event % {b"room": room.encode()} if b"%(" in event else event
                envelope = NODE + b":%d\n" % next(number)
                for channel in (room, EVERYONE, SOCKETIO_CHANNEL, "nodes"):
                    await publish(channel, body)
                    await publish(channel, envelope + body)

        await linger(0.5)
        heard = await losses(site)
        with load.window() as window:
            async with repeated(forge):
                await asyncio.sleep(SECONDS)
                await load.until_enough(window)
                await until(lambda: have_noticed(site))
    await load.settle()
    # A node that stands still for two seconds takes itself for partitioned.
    assert await losses(site) == heard or not is_for_table()

    async def are_ready() -> bool:
        return await site.readiness() == [200] * 3

    await until(are_ready)
    assert load.away(window) == []
    sends = load.overlapping(window)
    record(
        15,
        "events on Redis that cannot be read",
        sends,
        Figure("of them", next(number) - 1, unit=""),
        Figure("p99 of the acknowledgement", p99(sends), ACKNOWLEDGED),
        Figure("latest delivery", load.lateness(sends), HEARD),
    )


async def have_noticed(site: Site) -> bool:
    """Whether every node has counted some; what has no right form further in it ignores."""
    return min([await site.metric(n, INVALID) for n in range(len(site.nodes))]) > 0


async def keys_of(site: Site) -> Signatures:
    """Those of the nodes."""
    async with connected(site.database_url) as connection:
        key = await connection.fetchrow("SELECT id, key FROM chat.keys ORDER BY id LIMIT 1")
        assert key is not None
        now = await connection.fetchval("SELECT extract(epoch FROM now())::float8")
    signatures = Signatures()
    signatures.learn([Key(key["id"], key["key"])], key["id"], now)
    return signatures


async def losses(site: Site) -> list[float]:
    """How often each node lost Redis."""
    return [await site.metric(n, LOST) for n in range(len(site.nodes))]
