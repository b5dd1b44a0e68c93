"""The peers give the guarantees that they are measured with.

What most of them need comes with `make bench`; without it their tests are skipped.
"""

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from bench import people
from bench.crowds import Crowd
from bench.databases import VoidRun, make_plain_database, plain_url
from bench.dialects import Person
from bench.loads import open_loop
from bench.processes import Usage
from bench.targets import NODE_PEERS, TARGETS, Running
from chatserver.dev.postgres import EmbeddedPostgres
from tests.kit.waiting import eventually

HAS_NODE_PEERS = (NODE_PEERS.parent / "node_modules" / "socket.io").exists()
HAS_FASTAPI = importlib.util.find_spec("fastapi") is not None

needs_bench = "needs what `make bench` installs"
PEERS = [
    pytest.param("node-plain", marks=pytest.mark.skipif(not HAS_NODE_PEERS, reason=needs_bench)),
    pytest.param("node-batch", marks=pytest.mark.skipif(not HAS_NODE_PEERS, reason=needs_bench)),
    pytest.param("stock"),
    pytest.param("seed", marks=pytest.mark.skipif(not HAS_FASTAPI, reason=needs_bench)),
]


@asynccontextmanager
async def serving(
    name: str, postgres: EmbeddedPostgres, directory: Path
) -> AsyncIterator[tuple[str, Running]]:
    url = await make_plain_database(postgres, "bench_peer", 2)
    async with TARGETS[name].launch(url, directory) as server:
        yield url, server


@pytest.mark.parametrize("name", PEERS)
async def test_a_message_goes_to_both_and_is_stored_once_however_often_it_is_sent(
    name: str, bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with serving(name, bench_postgres, tmp_path) as (url, server):
        dialect, (pair, _) = TARGETS[name].dialect, people.pairs(2)
        crowd = Crowd(dialect, [pair])
        await crowd.connect(server.port)
        heard: list[list[str]] = [[], []]
        for member, ids in zip(crowd.pairs[0], heard, strict=True):
            assert member.socket is not None
            member.socket.receive = partial(note_id, ids)
        for _ in range(3):
            crowd.pairs[0][0].send(dialect.message(pair[0], 1))
        # Three acknowledgements and a copy, or three copies that acknowledge.
        wanted = [3 if dialect.copy_acknowledges else 4, 1]
        await eventually(lambda: [len(ids) for ids in heard] >= wanted)
        await asyncio.sleep(0.1)
        crowd.close()
        assert [len(ids) for ids in heard] == wanted
        assert len({*heard[0], *heard[1]}) == 1
        assert await stored(url) == [(1, 1)]


@pytest.mark.parametrize("name", PEERS)
async def test_numbers_have_no_gap_when_both_conversations_are_busy(
    name: str, bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with serving(name, bench_postgres, tmp_path) as (url, server):
        crowd = Crowd(TARGETS[name].dialect, people.pairs(2))
        await crowd.connect(server.port)
        await open_loop(crowd, lambda: Usage(0, 0, 0), rate=100, seconds=0.5)
        crowd.close()
        counts = await stored(url)
        assert [count for count, _ in counts] == [last for _, last in counts]
        assert sum(count for count, _ in counts) == crowd.acknowledged > 50


@pytest.mark.parametrize("name", PEERS)
async def test_a_stranger_cannot_send(
    name: str, bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    (one, other), (third, _) = people.pairs(2)
    intruder = Person(third.user_id, one.conversation_id, third.token)
    async with serving(name, bench_postgres, tmp_path) as (url, server):
        crowd = Crowd(TARGETS[name].dialect, [(intruder, other)])
        with pytest.raises(VoidRun, match=r"not_found|403"):
            await crowd.connect(server.port)
            crowd.send(0, 0.0)
            await crowd.settle()
        crowd.close()
        assert await stored(url) == []


@pytest.mark.parametrize("name", PEERS)
async def test_a_forged_token_is_refused(
    name: str, bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    ((one, other),) = people.pairs(1)
    forged = Person(one.user_id, one.conversation_id, one.token[:-4] + "AAAA")
    async with serving(name, bench_postgres, tmp_path) as (_, server):
        crowd = Crowd(TARGETS[name].dialect, [(forged, other)])
        with pytest.raises(VoidRun, match=r"unauthorized|403"):
            await crowd.connect(server.port)
        crowd.close()


def note_id(ids: list[str], packet: bytes) -> None:
    """Keep the id of the message in an event, an acknowledgement or the seed's JSON."""
    ids.extend(re.findall(r'"id":"([0-9a-f-]{36})"', packet.decode()))


async def stored(url: str) -> list[tuple[int, int]]:
    """How many messages each conversation has, and the last number."""
    connection = await asyncpg.connect(plain_url(url))
    try:
        rows = await connection.fetch(
            "SELECT count(*), max(seq) FROM chat.messages GROUP BY conversation_id"
        )
    finally:
        await connection.close()
    return [(row[0], row[1]) for row in rows]
