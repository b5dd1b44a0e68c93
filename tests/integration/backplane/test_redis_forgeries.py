"""What others write to the bus: dropped and counted, and it silences no node for its peers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from redis.asyncio import Redis

from chatserver.backplane.signatures import Key, Signatures, Verdict
from chatserver.dev.redis import EmbeddedRedis
from tests.integration.backplane.test_redis_bus import PREFIX, Listener, running_bus
from tests.kit.redis import redis_client
from tests.kit.waiting import eventually

CHANNEL = f"{PREFIX}:a"
NODES = f"{PREFIX}:nodes"
HUGE = 10**17
KEY = Key(1, b"k" * 32)


class OlderSignatures(Signatures):
    """As a node that knows of none: to it each one is a message of no form."""

    def open(self, channel: bytes, published: bytes) -> tuple[Verdict, bytes]:
        return Verdict.UNSIGNED, published


@pytest.fixture
async def redis(patient: None) -> AsyncIterator[EmbeddedRedis]:
    async with EmbeddedRedis() as server:
        yield server


def signing(*, is_required: bool = True, key: Key = KEY) -> Signatures:
    signatures = Signatures()
    signatures.learn([key], key.id, time.time())
    signatures.is_required = is_required
    return signatures


@asynccontextmanager
async def two_nodes(
    redis: EmbeddedRedis, one: Signatures | None, other: Signatures | None
) -> AsyncIterator[tuple[Listener, Listener, "Redis"]]:
    """The second listens on the channel `a`; and a client of somebody else."""
    async with (
        running_bus(redis.url, signatures=one) as first,
        running_bus(redis.url, signatures=other, plain=("open",)) as second,
        redis_client(redis) as forger,
    ):
        await second.bus.listen("a")
        await second.bus.listen("open")
        yield first, second, forger


async def heard(first: Listener, second: Listener, body: bytes) -> None:
    """What the first publishes now arrives."""
    first.bus.publish(["a"], body)
    await eventually(lambda: body in second.bodies())


async def test_what_is_not_signed_is_dropped_and_counted_once_it_has_to_be(
    redis: EmbeddedRedis,
) -> None:
    async with two_nodes(redis, signing(), signing()) as (first, second, forger):
        name = first.bus.node_id.hex.encode()
        for number in (1, HUGE):
            await forger.publish(CHANNEL, b"%b:%d\nforged" % (name, number))
        await forger.publish(NODES, orjson.dumps({"node": name.decode(), "bye": True}))
        await forger.publish(NODES, orjson.dumps({"node": name.decode(), "number": HUGE}))
        await heard(first, second, b"real")
        assert second.bodies() == [b"real"]
        assert second.bus.received[Verdict.UNSIGNED] == 4
        assert second.bus.disordered == 0


async def test_another_key_or_an_altered_byte_does_not_count(redis: EmbeddedRedis) -> None:
    async with two_nodes(redis, signing(), signing()) as (first, second, forger):
        message = b"%b:%d\nforged" % (first.bus.node_id.hex.encode(), HUGE)
        stranger = signing(key=Key(1, b"guessed, but not the right one 32"))
        await forger.publish(CHANNEL, stranger.sign(CHANNEL.encode(), message))
        altered = signing().sign(CHANNEL.encode(), message).replace(b"forged", b"Forged")
        await forger.publish(CHANNEL, altered)
        await heard(first, second, b"real")
        assert second.bodies() == [b"real"]
        assert second.bus.received[Verdict.FORGED] == 2


async def test_what_was_recorded_is_told_once_even_after_its_node_has_gone(
    redis: EmbeddedRedis,
) -> None:
    async with two_nodes(redis, signing(), signing()) as (first, second, forger):
        async with running_bus(redis.url, signatures=signing()) as leaving, forger.pubsub() as tap:
            await tap.subscribe(CHANNEL)
            leaving.bus.publish(["a"], b"once")
            await eventually(lambda: second.bodies() == [b"once"])
            recorded = b""
            while b"once" not in recorded:
                told = await tap.get_message(ignore_subscribe_messages=True, timeout=1)
                recorded = told["data"] if told else b""
            before = len(second.bus._others)
        await eventually(lambda: len(second.bus._others) < before)
        await forger.publish(CHANNEL, recorded)
        await heard(first, second, b"real")
        assert second.bodies() == [b"once", b"real"]
        assert second.bus.received["repeated"] == 1


async def test_a_stale_message_is_dropped_and_looked_for(redis: EmbeddedRedis) -> None:
    async with two_nodes(redis, signing(), signing()) as (first, second, forger):
        early = Signatures()
        early.learn([KEY], KEY.id, time.time() - 3600)
        second.gaps.clear()
        published = early.sign(CHANNEL.encode(), b"%b:%d\nold" % (b"0" * 32, 1))
        await forger.publish(CHANNEL, published)
        await heard(first, second, b"real")
        assert second.bodies() == [b"real"]
        assert second.bus.received[Verdict.STALE] == 1
        assert second.gaps


async def test_a_forged_number_is_a_gap_and_silences_its_node_until_the_next_heartbeat(
    redis: EmbeddedRedis,
) -> None:
    """While older nodes live, which sign nothing, anybody can speak in their names."""
    async with two_nodes(redis, None, signing(is_required=False)) as (older, second, forger):
        await heard(older, second, b"before")
        second.gaps.clear()
        forged = b"%b:%d\nforged" % (older.bus.node_id.hex.encode(), HUGE)
        await forger.publish(CHANNEL, forged)
        await eventually(lambda: b"forged" in second.bodies())
        await eventually(lambda: second.bus.disordered == 1)
        assert second.gaps
        assert min(second.gaps) < time.monotonic()
        await heard(older, second, b"after")


async def test_a_forged_heartbeat_leaves_a_gap_of_its_node(redis: EmbeddedRedis) -> None:
    """So whatever it says is looked for, again and again."""
    async with two_nodes(redis, None, signing(is_required=False)) as (older, second, forger):
        name = older.bus.node_id.hex
        await eventually(lambda: second.bus.has_others)
        await forger.publish(NODES, orjson.dumps({"node": name, "number": HUGE}))
        await forger.publish(CHANNEL, b"%b:%d\nforged" % (name.encode(), HUGE))
        await eventually(lambda: b"forged" in second.bodies())
        second.gaps.clear()
        await eventually(lambda: len(second.gaps) >= 3)


async def test_while_older_nodes_live_nobody_speaks_for_one_that_signs(
    redis: EmbeddedRedis,
) -> None:
    one, other = signing(is_required=False), signing(is_required=False)
    async with two_nodes(redis, one, other) as (first, second, forger):
        await heard(first, second, b"before")
        name = first.bus.node_id.hex
        await forger.publish(CHANNEL, b"%b:%d\nforged" % (name.encode(), HUGE))
        await forger.publish(NODES, orjson.dumps({"node": name, "bye": True}))
        await heard(first, second, b"after")
        assert second.bodies() == [b"before", b"after"]
        assert second.bus.received[Verdict.FORGED] == 2
        assert second.bus.unsigned_at is None


async def test_an_older_and_a_newer_node_hear_each_other(redis: EmbeddedRedis) -> None:
    newer_signs, older_does_not = signing(is_required=False), OlderSignatures()
    async with two_nodes(redis, newer_signs, older_does_not) as (newer, older, _):
        await newer.bus.listen("a")
        for number in range(100):
            newer.bus.publish(["a"], b"newer %d" % number)
            older.bus.publish(["a"], b"older %d" % number)
        await eventually(lambda: len(newer.heard) == len(older.heard) == 100)
        assert newer.bodies() == [b"older %d" % number for number in range(100)]
        assert older.bodies() == [b"newer %d" % number for number in range(100)]
        assert newer.bus.unsigned_at is not None


async def test_on_an_open_channel_what_is_not_signed_is_another_programs(
    redis: EmbeddedRedis,
) -> None:
    """Whatever it begins with: a node's own message is signed."""
    async with two_nodes(redis, signing(), signing()) as (first, second, forger):
        forged = b'%b:%d\n{"method": "disconnect"}' % (first.bus.node_id.hex.encode(), HUGE)
        await forger.publish(f"{PREFIX}:open", forged)
        await eventually(lambda: second.plain == [forged])
        first.bus.publish(["open"], b"of a node")
        await eventually(lambda: second.heard == [("open", b"of a node")])
        assert second.plain == [forged]
