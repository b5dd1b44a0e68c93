"""Injections into processes: each kind is a method of its name."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from aiohttp import ClientError, ClientTimeout
from redis.exceptions import RedisError

from chatserver.aio.tasks import end
from tests.chaos.checker.clients import API, Keys
from tests.chaos.checker.fault_schedules import Injection
from tests.chaos.checker.plans import Plan
from tests.chaos.checker.servers import SECRET
from tests.chaos.checker.site import Site
from tests.kit.balancer import CARELESS
from tests.kit.redis import redis_client
from tests.kit.services import connected
from tests.unit.realtime.wire import RawClient

AGAIN = 0.05
"""Seconds between two operations of somebody who does harm."""

CLOCK_ERROR = 3600
"""Seconds by which a wrong clock is wrong, to one side or the other."""

PARTITION_TIMEOUT = 30.0
"""Seconds until a partition is gone, or there again: those who write may be in the way."""

PAUSE = 0.3
"""Seconds between two attempts at that."""

TOO_MUCH = (
    b"POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    + bytes(500_000)
)

RUBBISH = (b"", b"\xff", b"{}", b"[1, 2", b'{"node": 7}', b"0" * 32 + b":9\n[[], []]\nrubbish",
           b'{"method": "emit", "event": 5}')  # fmt: skip


class Injections:
    """Injections overlap, but what is done to one process is done one at a time.

    Each is a context manager: broken while the body runs, and healed after it. What only
    hurts, and breaks nothing, is over when the body begins.
    """

    def __init__(self, plan: Plan, site: Site) -> None:
        self.is_over = False
        """What has not begun yet does not happen any more."""
        self._plan = plan
        self._site = site
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def inject(self, injection: Injection) -> AbstractAsyncContextManager[None]:
        """Break it while the body runs. Raises ServerFailed when a server does."""
        method: Callable[[Injection], AsyncIterator[None]] = getattr(self, injection.kind)
        return asynccontextmanager(method)(injection)

    @asynccontextmanager
    async def _turn(self, process: str) -> AsyncIterator[bool]:
        """Nobody else does anything to it; whether it is still to be broken."""
        async with self._turns[process]:
            yield not self.is_over

    # Nodes

    async def kill_server(self, injection: Injection) -> AsyncIterator[None]:
        server = self._site.nodes[injection.node].server
        async with self._turn(server.base_url) as is_due:
            if is_due:
                server.kill()
            yield
            if is_due:
                await server.start(self._site.http)

    async def stop_server(self, injection: Injection) -> AsyncIterator[None]:
        server = self._site.nodes[injection.node].server
        async with self._turn(server.base_url) as is_due:
            if is_due:
                await server.stop()
            yield
            if is_due:
                await server.start(self._site.http)

    async def roll_servers(self, injection: Injection) -> AsyncIterator[None]:
        """As an update does: one node after the other."""
        for number in range(len(self._site.nodes)):
            await self._restart((injection.node + number) % len(self._site.nodes))
        yield

    async def _restart(self, node: int, *, clock_error: int = 0) -> None:
        server = self._site.nodes[node].server
        async with self._turn(server.base_url) as is_due:
            if is_due:
                await server.stop()
                await server.start(self._site.http, clock_error=clock_error)

    async def wrong_clock(self, injection: Injection) -> AsyncIterator[None]:
        """It is right again after the next start, by whomever."""
        is_ahead = int(injection.seconds * 1000) % 2
        clock_error = CLOCK_ERROR if is_ahead else -CLOCK_ERROR
        await self._restart(injection.node, clock_error=clock_error)
        yield
        server = self._site.nodes[injection.node].server
        async with self._turn(server.base_url):
            if server.clock_error:
                await server.stop()
                await server.start(self._site.http)

    # The balancer

    async def careless_balancer(self, injection: Injection) -> AsyncIterator[None]:
        """It starts again, and gives each request to the next node: whoever polls begins anew."""
        balancer = self._site.balancer
        async with self._turn("balancer") as is_due:
            if balancer is not None and is_due:
                await balancer.start(CARELESS)
            yield
            if balancer is not None and is_due:
                await balancer.start()

    # PostgreSQL

    async def restart_database(self, _: Injection) -> AsyncIterator[None]:
        postgres = self._site.postgres
        async with self._turn("postgres") as is_due:
            if postgres is not None and is_due:
                await asyncio.to_thread(postgres.restart)
        yield

    async def crash_database(self, _: Injection) -> AsyncIterator[None]:
        postgres = self._site.postgres
        async with self._turn("postgres") as is_due:
            if postgres is not None and is_due:
                await asyncio.to_thread(postgres.kill)
            yield
            if postgres is not None and is_due:
                await asyncio.to_thread(postgres.start)

    async def lock_rows(self, _: Injection) -> AsyncIterator[None]:
        """Whoever changes a conversation waits, until no connection to PostgreSQL is free."""
        async with AsyncExitStack() as stack:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await stack.enter_async_context(connected(self._site.database_url))
                await connection.execute("BEGIN; SELECT FROM chat.conversations FOR UPDATE")
            yield

    async def no_partition(self, _: Injection) -> AsyncIterator[None]:
        """This month's becomes the default one; then it is made as the product does it."""
        async with self._turn("partition") as is_due:
            if is_due:
                name = f"messages_{datetime.now(UTC):%Y_%m}"
                await self._until_done(_WITHOUT_PARTITION.format(name=name))
            yield
            if is_due:
                await self._until_done("SELECT chat.ensure_message_partitions()")

    async def _until_done(self, statements: str) -> None:
        """In one transaction, which is tried until nobody is in the way. Raises TimeoutError."""
        async with asyncio.timeout(PARTITION_TIMEOUT):
            while True:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    async with connected(self._site.database_url) as connection:
                        await connection.execute(statements)
                        return
                await asyncio.sleep(PAUSE)

    # Redis

    async def crash_redis(self, _: Injection) -> AsyncIterator[None]:
        redis = self._site.redis
        async with self._turn("redis") as is_due:
            if redis is not None and is_due:
                await asyncio.to_thread(redis.kill)
            yield
            if redis is not None and is_due:
                await asyncio.to_thread(redis.start)

    async def freeze_redis(self, _: Injection) -> AsyncIterator[None]:
        redis = self._site.redis
        async with self._turn("redis") as is_due:
            if redis is not None and is_due:
                redis.freeze()
            yield
            if redis is not None and is_due:
                redis.thaw()

    async def poison(self, _: Injection) -> AsyncIterator[None]:
        """On every channel something comes that nobody can make sense of."""

        async def publish() -> None:
            assert self._site.redis is not None
            with suppress(OSError, RedisError):
                async with redis_client(self._site.redis) as client:
                    while True:
                        for channel in await client.pubsub_channels("chat:*"):
                            for rubbish in RUBBISH:
                                await client.publish(channel, rubbish)
                        await asyncio.sleep(0.1)

        async with _meanwhile(publish()):
            yield

    # Clients

    def _token(self, injection: Injection) -> str:
        people = self._plan.people
        person = people[int(injection.seconds * 1000) % len(people)]
        return Keys(SECRET, []).token(person)

    async def stop_reading(self, injection: Injection) -> AsyncIterator[None]:
        """Somebody asks for everything again and again, answers pings, and reads nothing."""

        async def ask() -> None:
            connect = "40" + orjson.dumps({"token": self._token(injection)}).decode()
            with suppress(OSError):
                client = await RawClient.open(self._site.ports[injection.node], connect)
                try:
                    while True:
                        await client.send("3")
                        await client.send('420["sync",{"limit":100}]')
                        await asyncio.sleep(AGAIN)
                finally:
                    client.close()

        async with _meanwhile(ask()):
            yield

    async def hang_up(self, injection: Injection) -> AsyncIterator[None]:
        """Somebody asks, and is gone before the answer is there."""

        async def ask() -> None:
            url = f"http://127.0.0.1:{self._site.ports[injection.node]}{API}/sync"
            headers = {"Authorization": f"Bearer {self._token(injection)}"}
            rng = random.Random(self._plan.seed)
            while True:
                with suppress(OSError, ClientError, TimeoutError):
                    timeout = ClientTimeout(rng.uniform(0.001, 0.02))
                    await self._site.http.get(url, headers=headers, timeout=timeout)
                await asyncio.sleep(AGAIN)

        async with _meanwhile(ask()):
            yield

    async def send_rubbish(self, injection: Injection) -> AsyncIterator[None]:
        """Somebody sends too much, and somebody else the half of a request."""

        async def send() -> None:
            port = self._site.ports[injection.node]
            with suppress(OSError):
                slow = await RawClient.open(port)
                try:
                    loop = asyncio.get_running_loop()
                    await loop.sock_sendall(slow.sock, b"\x81\xff" + bytes(4))
                    while True:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.write(TOO_MUCH)
                        await asyncio.sleep(AGAIN)
                        writer.transport.abort()
                finally:
                    slow.close()

        async with _meanwhile(send()):
            yield


@asynccontextmanager
async def _meanwhile(harm: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """While the body runs; raises what the harm failed with."""
    task = asyncio.create_task(harm)
    try:
        yield
    finally:
        await end(task)
    if not task.cancelled():
        task.result()


# Nothing is moved: who has an older snapshot of the database still finds all rows. The
# conversations are locked first, as those who write do it, and detaching needs it.
_WITHOUT_PARTITION = """
    SET LOCAL lock_timeout = '1s';
    LOCK TABLE chat.conversations IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE chat.messages IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE chat.messages DETACH PARTITION chat.messages_default;
    ALTER TABLE chat.messages DETACH PARTITION chat.{name};
    DROP TABLE chat.messages_default;
    ALTER TABLE chat.{name} RENAME TO messages_default;
    ALTER TABLE chat.messages ATTACH PARTITION chat.messages_default DEFAULT;
"""
