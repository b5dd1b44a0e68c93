"""Fault 18: who hangs up, or is given up, while the database works for them.

A request is finished though nobody waits for it; an event is cancelled amid its statement
after `realtime.handler_timeout`. Nobody else may get what either of them asked for.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from tests.chaos.faults.load_generator import LoadGenerator, p99
from tests.chaos.faults.records import Figure, is_for_table, record
from tests.chaos.faults.sites import Site, running_site, until
from tests.kit.app import Person
from tests.kit.clients import Answer, Chat, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.services import connected
from tests.unit.realtime.wire import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="package")

DELAY = 0.003
"""Seconds that the database is away, in either direction: most hang up amid a statement."""

STALLS = 3 if is_for_table() else 1
STALL = 1.6
"""Seconds for which the database then does not answer; longer than events are given."""

TIMEOUT = 1.0
"""Seconds that an event is given."""

PATIENCE = 0.1
"""Seconds, at most, after which somebody hangs up."""

PAUSE = 0.4
"""Seconds between two calls of anybody."""

CHATS = 6
WHOLE = 10.0
"""Seconds after which every connection is back in its pool."""

_IN_TRANSACTION = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%'
      AND state_change < now() - interval '1 second'
"""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    # Whoever asks at once when all is over may wait for PostgreSQL, and is not refused.
    settings = {"realtime__handler_timeout": TIMEOUT, "database__pool_timeout": 15.0}
    async with databases.migrated() as url, running_site(url, directory, **settings) as running:
        yield running


@dataclass(slots=True)
class Hasty:
    """A tenant who does not wait, about a chat of which every text has its id.

    `keys` are of the messages that may be stored, `hang_ups` counts all that was asked.
    """

    chat: Chat
    message_id: str
    keys: list[str] = field(default_factory=list)
    hang_ups: int = 0

    def message(self) -> dict[str, Any]:
        self.keys.append(str(uuid4()))
        return self.parts(self.keys[-1])

    def parts(self, key: str) -> dict[str, Any]:
        return {"content": f"{self.chat.id} {key}", "client_msg_id": key}

    async def hang_up_on_rest(self, port: int) -> None:
        chat = f"conversations/{self.chat.id}"
        method, path, body = random.choice(
            [
                ("GET", "conversations", None),
                ("GET", f"{chat}/messages", None),
                ("GET", "sync", None),
                ("POST", f"messages/{self.message_id}/read", None),
                ("PATCH", f"messages/{self.message_id}", {"content": f"{self.chat.id} {uuid4()}"}),
                ("POST", f"{chat}/messages", self.message),
            ]
        )
        await hang_up(port, self.chat.tenant, method, path, body() if callable(body) else body)
        self.hang_ups += 1

    async def hang_up_on_socket(self, port: int) -> None:
        chat = {"conversation_id": self.chat.id}
        client = await RawClient.open(port, "40" + json.dumps({"token": self.chat.tenant.token()}))
        for event, payload in (
            ("sync", {}),
            ("join", chat),
            ("message", {**chat, **self.message()}),
            ("read", {**chat, "seq": 1}),
        ):
            await client.send("421" + json.dumps([event, payload]))
        await asyncio.sleep(random.uniform(0, PATIENCE))
        client.close()
        self.hang_ups += 1


async def hang_up(port: int, who: Person, method: str, path: str, body: Any) -> None:
    """Ask, and be gone before the answer, or amid it."""
    content = b"" if body is None else json.dumps(body).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"{method} /api/chat/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {who.token()}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    await asyncio.sleep(random.uniform(0, PATIENCE))
    writer.transport.abort()


async def test_who_hangs_up_leaves_no_answer_for_others_and_every_connection_whole(
    site: Site, load: LoadGenerator
) -> None:
    ports = [node.port for node in site.nodes] + [urlsplit(site.url).port or 0]
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        rests = [Rest(http, node.base_url) for node in site.nodes]
        hasty = [await add_hasty(rests[0], site) for _ in range(CHATS)]
        with load.window() as window:
            async with hanging_up(hasty, ports), asking(rests, hasty) as asked:
                await stall(site)
        whole = await until(lambda: are_pools_whole(site))
        at_once = await asyncio.gather(
            *(ask(rest, each) for rest in rests for each in hasty for _ in range(2))
        )
        for each in hasty:
            await send_again(rests, each)
    await load.settle()
    assert {status for statuses in at_once for status in statuses} == {200}
    assert {status for statuses in asked for status in statuses} <= {200, 503}
    assert any(send.refusals for send in load.overlapping(window)), "nothing was cancelled"
    assert load.away(window) == []
    sends = load.overlapping(window)
    record(
        18,
        "callers who hang up, events that are given up",
        sends,
        Figure("hung up", sum(each.hang_ups for each in hasty), unit="times"),
        Figure("answers to others, each their own", sum(map(len, asked)), unit=""),
        Figure("pools whole after", whole, WHOLE),
        Figure("events of others given up", sum(len(s.refusals) for s in sends), unit=""),
        Figure("p99 of the acknowledgement", p99(sends)),
        Figure("latest delivery", load.lateness(sends), 10.0),
    )


async def stall(site: Site) -> None:
    """The database is slow, and again and again it does not answer anybody for a while."""
    for _ in range(STALLS):
        for node in site.nodes:
            node.database.delay(DELAY)
        await asyncio.sleep(2)
        for node in site.nodes:
            node.database.hold_answers()
        await asyncio.sleep(STALL)
        for node in site.nodes:
            node.database.heal()


async def add_hasty(rest: Rest, site: Site) -> Hasty:
    chat = await open_chat(rest, site.database_url)
    sent = await rest.send(chat.tenant, chat.id, content=f"{chat.id} first")
    return Hasty(chat, sent.body["id"])


@asynccontextmanager
async def hanging_up(hasty: Sequence[Hasty], ports: Sequence[int]) -> AsyncIterator[None]:
    """Everybody again and again, at every node."""
    is_over = False

    async def keep_going(each: Hasty, *, on_socket: bool) -> None:
        while not is_over:
            port = random.choice(ports)
            await (each.hang_up_on_socket if on_socket else each.hang_up_on_rest)(port)
            await asyncio.sleep(random.uniform(0, PAUSE))

    async with asyncio.TaskGroup() as group:
        for each in hasty:
            for on_socket in (False, True):
                group.create_task(keep_going(each, on_socket=on_socket))
        yield
        is_over = True


@asynccontextmanager
async def asking(rests: Sequence[Rest], hasty: Sequence[Hasty]) -> AsyncIterator[list[list[int]]]:
    """The landlords ask all the while, on every node: what `ask` answered."""
    found: list[list[int]] = []
    is_over = False

    async def keep_asking(rest: Rest, each: Hasty) -> None:
        while not is_over:
            found.append(await ask(rest, each))
            await asyncio.sleep(random.uniform(0, PAUSE))

    async with asyncio.TaskGroup() as group:
        for rest in rests:
            for each in hasty:
                group.create_task(keep_asking(rest, each))
        yield found
        is_over = True


async def ask(rest: Rest, hasty: Hasty) -> list[int]:
    """Whatever the landlord is answered is theirs: the statuses."""
    chat = hasty.chat
    conversation = await rest.get("conversations", chat.landlord)
    messages = await rest.get(f"conversations/{chat.id}/messages", chat.landlord)
    presence = await rest.get(f"users/{chat.tenant.id}/presence", chat.landlord)
    if conversation.status == 200:
        assert [each["id"] for each in conversation.body] == [chat.id]
    if messages.status == 200:
        assert {each["conversation_id"] for each in messages.body} == {chat.id}
        assert all(each["content"].startswith(chat.id) for each in messages.body)
    if presence.status == 200:
        assert presence.body["user_id"] == str(chat.tenant.id)
    return [answer.status for answer in (conversation, messages, presence)]


async def are_pools_whole(site: Site) -> bool:
    """Nobody uses a connection for long, and no transaction was left open."""
    used = [await site.metric(n, "chat_database_pool_used") for n in range(len(site.nodes))]
    async with connected(site.database_url) as connection:
        return sum(used) == 0 and await connection.fetchval(_IN_TRANSACTION) == 0


async def send_again(rests: Sequence[Rest], hasty: Hasty) -> None:
    """What got no answer is repeated, as a client does: in the end all is stored once."""
    chat = hasty.chat

    async def repeat(number: int, key: str) -> Answer:
        while True:
            rest = rests[number % len(rests)]
            answer = await rest.send(chat.tenant, chat.id, **hasty.parts(key))
            if answer.status != 503:
                return answer
            await asyncio.sleep(answer.body["retry_after"])

    answers = await asyncio.gather(*(repeat(n, key) for n, key in enumerate(hasty.keys)))
    assert {answer.status for answer in answers} <= {200, 201}, answers
    seqs = sorted(answer.body["seq"] for answer in answers)
    assert seqs == list(range(2, len(hasty.keys) + 2))
