"""The harness measures real servers, and calls a run void when a promise was broken."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from bench import people
from bench.clusters import CLUSTERS
from bench.crowds import Crowd
from bench.databases import (
    VoidRun,
    check_stored,
    make_plain_database,
    make_product_database,
    plain_url,
)
from bench.dialects import Person
from bench.loads import closed_loop, open_loop
from bench.processes import Usage, measure, tree
from bench.rounds import Plan, Round
from bench.targets import TARGETS, Running, TargetError, in_python
from chatserver.dev.postgres import EmbeddedPostgres

PLAN = Plan(
    frozenset({"throughput", "latency", "alone", "sockets", "fanout"}),
    seconds=0.3,
    conversations=10,
    windows=[1],
    sockets=100,
    growing=0.2,
    rest=0.2,
)


@asynccontextmanager
async def product(
    postgres: EmbeddedPostgres, directory: Path, pairs: list[tuple[Person, Person]]
) -> AsyncIterator[tuple[str, Running, Crowd]]:
    """The product, and a crowd that is connected to it."""
    url = await make_product_database(postgres, "bench_product", len(pairs))
    async with TARGETS["chatserver"].launch(url, directory) as server:
        crowd = Crowd(TARGETS["chatserver"].dialect, pairs)
        try:
            await crowd.connect(server.port)
            yield url, server, crowd
        finally:
            crowd.close()


# What the other peers need is no part of `make setup`.
@pytest.mark.parametrize("name", ["chatserver", "stock"])
async def test_a_round_measures_a_server(
    name: str, bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    figures = await Round(TARGETS[name], bench_postgres, tmp_path, PLAN).run()
    assert figures["throughput"]["acknowledged"] > 20
    assert figures["throughput"]["server_cpu"] > 0
    assert figures["throughput"]["postgres_cpu"] > 0
    assert 0 < figures["half"]["delivery_p50"] <= figures["half"]["delivery_p999"]
    assert 0 < figures["alone"]["acknowledgement_p50"] <= figures["alone"]["acknowledgement_p99"]
    assert figures["sockets"]["opened"] > 10


async def test_a_round_counts_what_each_node_of_a_cluster_hears(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    plan = replace(PLAN, sections=frozenset({"fanout", "sockets"}), seconds=1.0)
    figures = await Round(CLUSTERS["nodes-2"], bench_postgres, tmp_path, plan).run()
    assert "sockets" not in figures, "these are asked of single servers"
    # A message to each of both people, and one of them gets an unread counter.
    assert figures["fanout"]["published"] == pytest.approx(3, abs=0.5)
    # The room of each person is on one of the two nodes.
    assert figures["fanout"]["handled"] == pytest.approx(1.5, abs=0.3)


async def test_a_pause_of_the_server_is_in_every_message_that_was_due_meanwhile(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with product(bench_postgres, tmp_path, people.pairs(10)) as (_, server, crowd):
        load = asyncio.create_task(open_loop(crowd, nothing_used, rate=100, seconds=2))
        await asyncio.sleep(2.5)
        os.kill(server.pids[0], signal.SIGSTOP)
        await asyncio.sleep(1)
        os.kill(server.pids[0], signal.SIGCONT)
        measured = await load
    # Half of the two seconds' messages, with a second down to nothing to wait.
    late = sum(seconds > 0.25 for seconds in crowd.times.delivery)
    assert late > 60
    assert measured.delivery_p99 > 900


async def test_a_late_generator_is_in_every_message_that_was_due_meanwhile(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with product(bench_postgres, tmp_path, people.pairs(10)) as (_, _, crowd):
        load = asyncio.create_task(open_loop(crowd, nothing_used, rate=100, seconds=2))
        await asyncio.sleep(2.5)
        time.sleep(1)  # noqa: ASYNC251
        measured = await load
    assert sum(seconds > 0.25 for seconds in crowd.times.delivery) > 60
    assert measured.lag_p99 > 900


async def test_a_message_that_comes_twice_voids_the_run(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with product(bench_postgres, tmp_path, people.pairs(1)) as (_, _, crowd):
        socket = crowd.pairs[0][1].socket
        assert socket is not None
        receive = socket.receive

        def receive_twice(packet: bytes) -> None:
            receive(packet)
            receive(packet)

        socket.receive = receive_twice
        crowd.send(0, time.perf_counter())
        with pytest.raises(VoidRun, match="1 copies and 2 deliveries"):
            await crowd.settle()


async def test_a_message_that_is_not_stored_voids_the_run(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with product(bench_postgres, tmp_path, people.pairs(2)) as (url, _, crowd):
        await closed_loop(crowd, nothing_used, window=1, seconds=0.1)
        await check_stored(url, crowd.acknowledged)
        with pytest.raises(VoidRun, match=r"\d+ messages acknowledged, \d+ stored"):
            await check_stored(url, crowd.acknowledged + 1)


async def test_a_gap_in_the_numbers_voids_the_run(bench_postgres: EmbeddedPostgres) -> None:
    url = await make_plain_database(bench_postgres, "bench_gap", 1)
    connection = await asyncpg.connect(plain_url(url))
    await connection.execute("""
        INSERT INTO chat.messages
        SELECT gen_random_uuid(), c.id, seq, client_user_id, 'text', gen_random_uuid(), now()
        FROM chat.conversations c, unnest(ARRAY[1, 2, 4]) seq
    """)
    await connection.close()
    with pytest.raises(VoidRun, match="gaps"):
        await check_stored(url, 3)


async def test_a_refused_message_voids_the_run(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    # They are known, but take no part in each other's conversation.
    (one, other), (third, fourth) = people.pairs(2)
    strangers = Person(one.user_id, third.conversation_id, one.token)
    async with product(bench_postgres, tmp_path, [(strangers, other), (third, fourth)]) as (
        _,
        _,
        crowd,
    ):
        crowd.send(0, time.perf_counter())
        with pytest.raises(VoidRun, match=r"refused.*not_found"):
            await crowd.settle()


async def test_somebody_who_is_not_let_in_voids_the_run(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with product(bench_postgres, tmp_path, people.pairs(1)) as (_, server, _):
        ((client, owner),) = people.pairs(1)
        crowd = Crowd(
            TARGETS["chatserver"].dialect,
            [(Person(client.user_id, client.conversation_id, "forged"), owner)],
        )
        with pytest.raises(VoidRun, match="unauthorized"):
            await crowd.connect(server.port)
        crowd.close()


async def test_a_server_that_does_not_start_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"No module named bench\.peers\.missing"):
        async with in_python("bench.peers.missing")("postgresql://", tmp_path):
            pass


def test_cpu_of_a_process_tree_includes_children_that_ended() -> None:
    burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    with subprocess.Popen(
        ["sh", "-c", f"sh -c '{burn}'; echo done; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert tree(process.pid) == [process.pid]
        assert measure([process.pid], process.pid).server > 0.05
        process.communicate()


def nothing_used() -> Usage:
    return Usage(0.0, 0.0, 0.0)
