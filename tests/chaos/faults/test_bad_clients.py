"""Fault 14: clients that send too much, too slowly or nothing, and ones that fell silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.chaos.faults.abusers import WEBSOCKET
from tests.chaos.faults.load_generator import LoadGenerator, p99
from tests.chaos.faults.records import Figure, is_for_table, linger, record
from tests.chaos.faults.sites import Site, running_site, timed, until
from tests.kit.app import Person
from tests.kit.attackers import drip, post
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.proxy import running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="package")

EACH = 5
"""Attackers of each kind at each port."""

CLOSED = 10.0
GRACE = 2.0
"""More for who does not hear that it is over: the node hangs up 1 s later (after 1.5 s
where a body is still coming); the rest is for a busy machine."""

GIVEN_UP = 6 * CLOSED

CALM_P99 = 1.0
"""Seconds; or three times what it is in peace, where the machine is too busy for that."""

OFFLINE = 45.0
"""Seconds after which everybody knows that somebody's network broke without a word."""

CALM = 5.0
"""Seconds for which the load is measured without attackers."""

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

CLOSING = b"\x88\x02\x03\xf0"
"""The frame that says: closed for breaking a rule (1008)."""

SHORTER: dict[str, float] = (
    {}
    if is_for_table()
    else {
        "realtime__ping_interval": 5.0,
        "realtime__ping_timeout": 5.0,
        "server__request_timeout": 4.0,
        "realtime__connect_timeout": 5.0,
    }
)
"""Half a minute is long to wait for whoever falls silent."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with databases.migrated() as url, running_site(url, directory, **SHORTER) as running:
        yield running


def ports(site: Site) -> list[int]:
    """The ports of all nodes and of HAProxy."""
    return [node.port for node in site.nodes] + [urlsplit(site.url).port or 0]


async def attack(
    site: Site, words: bytes, drop: bytes = b"", *, to_the_end: bool = True
) -> tuple[list[bytes], float]:
    """The same at every port, EACH times: what came back, and how long the last one lasted."""
    all_ports = ports(site) * EACH
    results = await asyncio.gather(
        *(timed(drip(port, words, drop, GIVEN_UP, to_the_end=to_the_end)) for port in all_ports)
    )
    return [answer for answer, _ in results], max(seconds for _, seconds in results)


async def test_too_much_too_slowly_or_nothing_is_refused_or_closed(
    site: Site, load: LoadGenerator
) -> None:
    person = load.chats[0].tenant
    with load.window() as calm:
        await linger(CALM)
    with load.window() as window:
        silent, head, body, large, endless, mute = await asyncio.gather(
            attack(site, b""),
            attack(site, HEAD, b"a"),
            attack(site, post(person, 200), b" "),
            # HAProxy itself keeps who does not send what was announced for 30 s more.
            attack(site, post(person, 10**9), to_the_end=False),
            attack(site, post(person, None), CHUNK),
            attack(site, WEBSOCKET),
        )
        packets = await say_too_much(site, person)
    await load.settle()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in body[0])
    assert all(answer.startswith(b"HTTP/1.1 413 ") for answer in large[0])
    # A client that still writes may be cut off before it could read the answer.
    assert all(answer.startswith(b"HTTP/1.1 413 ") or not answer for answer in endless[0])
    assert all(answer.startswith(b"HTTP/1.1 101 ") and CLOSING in answer for answer in mute[0])
    before, sends = p99(load.overlapping(calm)), load.overlapping(window)
    assert load.away(window) == []
    record(
        14,
        "oversized payloads and slow requests",
        sends,
        Figure("attackers", 7 * EACH * len(ports(site)), unit=""),
        Figure("too much: refused after", max(large[1], endless[1], packets), CLOSED),
        Figure("silent connections closed after", silent[1], CLOSED),
        Figure("slow heads", head[1], CLOSED),
        Figure("slow bodies", body[1], CLOSED + GRACE),
        Figure("sockets that prove nothing", mute[1], CLOSED + GRACE),
        Figure("the others' p99 without them", before),
        Figure("and with them", p99(sends), max(CALM_P99, 3 * before)),
    )


async def say_too_much(site: Site, person: Person) -> float:
    """Sockets that are let in, and then send a packet that is too large: the longest wait."""

    async def refuse(http: ClientSession, port: int) -> None:
        device = await Device.open(http, f"http://127.0.0.1:{port}", person)
        answer = await device.call("message", {"content": "x" * 200_000})
        assert answer["error"]["code"] == "payload_too_large"
        await device.close()

    async with ClientSession() as http:
        waits = await asyncio.gather(
            *(timed(refuse(http, port)) for port in ports(site) for _ in range(EACH))
        )
    return max(seconds for _, seconds in waits)


async def test_who_falls_silent_is_offline_and_nobody_else_notices(
    site: Site, load: LoadGenerator
) -> None:
    """Their networks break without a word, before each node and before HAProxy."""
    async with ClientSession() as http, AsyncExitStack() as stack:
        rest = Rest(http, site.url)
        chats, networks = [], []
        for port in ports(site):
            network = await stack.enter_async_context(running_proxy(("127.0.0.1", port)))
            chat = await open_chat(rest, site.database_url)
            await rest.send(chat.tenant, chat.id, content="Hello")
            device = await Device.open(http, f"http://127.0.0.1:{network.port}", chat.tenant)
            stack.push_async_callback(device.close)
            stack.callback(network.reset)
            chats.append(chat)
            networks.append(network)

        async def are_online() -> bool:
            return all([await is_online(rest, chat) for chat in chats])

        await until(are_online)
        with load.window() as calm:
            await linger(CALM)
        with load.window() as window:
            for network in networks:
                network.blackhole()
            gone = await asyncio.gather(*(until_offline(rest, chat) for chat in chats))
    await load.settle()
    before, sends = p99(load.overlapping(calm)), load.overlapping(window)
    assert load.away(window) == []
    record(
        14,
        "half-open connections",
        sends,
        Figure("offline for everybody after", max(gone), OFFLINE),
        Figure("the others' p99 before", before),
        Figure("and meanwhile", p99(sends), max(CALM_P99, 3 * before)),
    )


async def is_online(rest: Rest, chat: Chat) -> bool:
    """As the landlord sees the tenant."""
    answer = await rest.get(f"users/{chat.tenant.id}/presence", chat.landlord)
    return bool(answer.body["is_online"])


async def until_offline(rest: Rest, chat: Chat) -> float:
    async def is_offline() -> bool:
        await asyncio.sleep(0.1)
        return not await is_online(rest, chat)

    return await until(is_offline)
