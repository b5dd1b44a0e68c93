"""The bus: order, once each, and a gap whenever something may have been missed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from chatserver.backplane import redis_bus, redis_others
from chatserver.backplane.redis_bus import RedisBus
from chatserver.backplane.redis_links import RedisLinks
from chatserver.backplane.signatures import Signatures
from chatserver.dev.redis import EmbeddedRedis
from tests.kit.proxy import Proxy, running_proxy
from tests.kit.redis import redis_client
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually

PREFIX = "test"
MESSAGES = 10_000
END = b"the end"
PARTITIONED_AFTER = redis_bus.PARTITIONED_AFTER


@dataclass
class Listener:
    """A bus, and what it was told."""

    bus: RedisBus
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    plain: list[bytes] = field(default_factory=list)

    def start(self, plain: tuple[str, ...] = ()) -> None:
        self.bus.start(
            lambda channel, body: self.heard.append((channel, body)),
            self.gaps.append,
            plain=dict.fromkeys(plain, self.plain.append),
        )

    def bodies(self) -> list[bytes]:
        return [body for _, body in self.heard]


@asynccontextmanager
async def running_bus(
    url: str, *, plain: tuple[str, ...] = (), signatures: Signatures | None = None
) -> AsyncIterator[Listener]:
    """A bus that hears itself. Without `signatures` it signs nothing and believes everybody."""
    links = RedisLinks(url)
    listener = Listener(RedisBus(links.connect, PREFIX, signatures or Signatures()))
    listener.start(plain)
    try:
        await eventually(lambda: listener.bus.is_receiving)
        yield listener
    finally:
        await listener.bus.close()
        await links.close()


@pytest.fixture
async def redis(patient: None) -> AsyncIterator[EmbeddedRedis]:
    async with EmbeddedRedis() as server:
        yield server


@asynccontextmanager
async def behind(redis: EmbeddedRedis) -> AsyncIterator[tuple[Proxy, Listener]]:
    """A bus whose connection to Redis can be broken."""
    async with (
        running_proxy(("127.0.0.1", redis.port)) as cable,
        running_bus(f"redis://127.0.0.1:{cable.port}") as listener,
    ):
        yield cable, listener


async def until_heard(listener: Listener, count: int) -> None:
    await eventually(lambda: len(listener.heard) >= count)


async def test_what_is_published_arrives_in_order_and_once(redis: EmbeddedRedis) -> None:
    async with running_bus(redis.url) as one, running_bus(redis.url) as other:
        for channel in ("a", "b"):
            await other.bus.listen(channel)
        for number in range(1000):
            one.bus.publish(["a", "b", "nobody"], b"%d" % number)
        await until_heard(other, 1000)
        assert other.bodies() == [b"%d" % number for number in range(1000)]
        assert one.heard == []


async def test_what_follows_for_the_same_channel_goes_with_it(redis: EmbeddedRedis) -> None:
    async with (
        running_bus(redis.url) as one,
        running_bus(redis.url) as other,
        redis_client(redis) as watcher,
        watcher.pubsub() as watched,
    ):
        for channel in ("a", "b"):
            await other.bus.listen(channel)
            await watched.subscribe(f"{PREFIX}:{channel}")
        await watched.subscribe(END.decode())
        one.bus.publish(["a", "b"], b"1")
        one.bus.publish(["b"], b"2")
        one.bus.publish(["a"], b"3")
        await until_heard(other, 3)
        assert other.heard == [("a", b"1"), ("b", b"2"), ("a", b"3")]
        await watcher.publish(END.decode(), b"")
        channels: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while channels[-1:] != [END]:
                told = await watched.get_message(timeout=0.5)
                if told and told["type"] == "message":
                    channels.append(told["channel"])
        assert channels == [b"test:a", b"test:b", b"test:a", END]


async def test_only_what_is_listened_to_arrives(redis: EmbeddedRedis) -> None:
    async with running_bus(redis.url) as one, running_bus(redis.url) as other:
        await other.bus.listen("a")
        other.bus.leave("a")
        await other.bus.listen("c")
        one.bus.publish(["a"], b"left")
        one.bus.publish(["b"], b"never asked for")
        one.bus.publish(["c"], b"wanted")
        await until_heard(other, 1)
        assert other.heard == [("c", b"wanted")]
        assert set(other.bus.received) <= {"other"}


async def test_leaving_and_coming_back_leaves_no_gap(redis: EmbeddedRedis) -> None:
    """A confirmation counts only when no earlier `leave` is still on its way."""
    async with running_bus(redis.url) as one, running_bus(redis.url) as other:
        for number in range(200):
            first = other.bus.listen("a")
            await asyncio.sleep(0)
            other.bus.leave("a")
            await asyncio.sleep(0)
            assert first.cancelled() or first.done()
            await other.bus.listen("a")
            one.bus.publish(["a"], b"%d" % number)
            await until_heard(other, number + 1)


async def test_an_echo_is_dropped(redis: EmbeddedRedis) -> None:
    async with running_bus(redis.url) as one:
        await one.bus.listen("a")
        one.bus.publish(["a"], b"to myself")
        await eventually(lambda: one.bus.received["own"] > 0)
        assert one.heard == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"no envelope at all",
        b"0123:1\nshort id",
        b"0" * 32 + b":\nno number",
        b"0" * 32 + b":-1\nnegative",
        b"0" * 32 + b":" + b"9" * 5000 + b"\nendless",
        b"\x80\x04K\x01.",
        b"\xff\xfe\n\x00",
    ],
)
async def test_forged_bytes_are_ignored(redis: EmbeddedRedis, message: bytes) -> None:
    async with running_bus(redis.url) as one, running_bus(redis.url) as other:
        await other.bus.listen("a")
        async with redis_client(redis) as forger:
            await forger.publish(f"{PREFIX}:a", message)
            for forged in (message, b"[]", b'{"node": 1}', b'{"node": "x", "given_up": {}}'):
                await forger.publish(f"{PREFIX}:nodes", forged)
        one.bus.publish(["a"], b"real")
        await until_heard(other, 1)
        assert other.bodies() == [b"real"]
        assert other.bus.received["invalid"] > 0
        assert other.bus.is_receiving


async def test_a_plain_channel_takes_what_comes_from_no_node(redis: EmbeddedRedis) -> None:
    async with running_bus(redis.url, plain=("open",)) as bus:
        await bus.bus.listen("open")
        async with redis_client(redis) as foreigner:
            await foreigner.publish(f"{PREFIX}:open", b'{"method": "emit"}')
        await eventually(lambda: bus.plain == [b'{"method": "emit"}'])
        assert bus.heard == []


async def test_a_handler_that_fails_keeps_nothing_else_back(redis: EmbeddedRedis) -> None:
    links = RedisLinks(redis.url)
    async with running_bus(redis.url) as one:
        heard: list[bytes] = []

        def receive(_: str, body: bytes) -> None:
            if body == b"poison":
                raise RuntimeError
            heard.append(body)

        bus = RedisBus(links.connect, PREFIX, Signatures())
        bus.start(receive, lambda _: None)
        await bus.listen("a")
        for body in (b"poison", b"fine"):
            one.bus.publish(["a"], body)
        await eventually(lambda: heard == [b"fine"])
        await bus.close()
    await links.close()


async def test_nothing_is_lost_over_a_cut_connection(redis: EmbeddedRedis) -> None:
    async with running_bus(redis.url) as other, behind(redis) as (cable, one):
        await other.bus.listen("a")
        for number in range(500):
            one.bus.publish(["a"], b"%d" % number)
            if number % 100 == 50:
                await asyncio.sleep(0.01)
                cable.reset()
                await asyncio.sleep(0.01)
        await until_heard(other, 500)
        assert other.bodies() == [b"%d" % number for number in range(500)]


async def test_a_cut_connection_is_a_gap_even_if_it_is_brief(redis: EmbeddedRedis) -> None:
    async with behind(redis) as (cable, one):
        await asyncio.sleep(0.1)
        one.gaps.clear()
        assert one.bus.lost == 0
        cut_at = time.monotonic()
        received_at = cut_at - one.bus.seconds_partitioned
        cable.reset()
        await eventually(lambda: one.bus.lost == 1)
        await eventually(lambda: one.bus.is_receiving)
        assert one.gaps
        assert all(received_at - 0.1 < since < cut_at for since in one.gaps)


async def test_it_hears_again_after_redis_is_back_with_all_its_channels(
    redis: EmbeddedRedis,
) -> None:
    async with running_bus(redis.url) as one, running_bus(redis.url) as other:
        await asyncio.gather(*(other.bus.listen(f"channel {number}") for number in range(3000)))
        redis.kill()
        await eventually(lambda: not other.bus.is_receiving)
        await asyncio.sleep(1)
        redis.start()
        await eventually(lambda: one.bus.is_receiving and other.bus.is_receiving)
        for number in (0, 1499, 2999):
            one.bus.publish([f"channel {number}"], b"%d" % number)
        await until_heard(other, 3)


@pytest.mark.parametrize("fault", ["frozen", "blackholed"])
async def test_who_hears_nothing_knows_it_and_heals(
    redis: EmbeddedRedis, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "PARTITIONED_AFTER", PARTITIONED_AFTER)
    async with running_bus(redis.url) as other, behind(redis) as (cable, one):
        await other.bus.listen("a")
        if fault == "frozen":
            redis.freeze()
        else:
            cable.blackhole()
        await eventually(lambda: not one.bus.is_receiving)
        await eventually(lambda: other.bus.is_receiving is (fault == "blackholed"))
        one.bus.publish(["a"], b"meanwhile")
        one.gaps.clear()
        await eventually(lambda: len(one.gaps) >= 2)  # again and again while it lasts
        healing_at = time.monotonic()
        redis.thaw()
        cable.heal()
        await eventually(lambda: one.bus.is_receiving)
        # A node that was partitioned, too, may have come back later than the message.
        await eventually(lambda: bool(other.heard or (other.bus.lost and other.bus.is_receiving)))
        assert other.bodies() in ([b"meanwhile"], [])
        assert other.heard or min(other.gaps) < healing_at


async def test_what_waited_too_long_is_dropped_and_the_others_are_told(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_bus(redis.url) as other, behind(redis) as (cable, one):
        await other.bus.listen("a")
        await eventually(lambda: other.bus.has_others)
        assert other.bus.others == 1
        cable.refuse()
        cable.reset()
        await eventually(lambda: not one.bus.is_receiving)
        one.bus.publish(["a"], b"lost")
        with monkeypatch.context() as patch:
            patch.setattr(redis_bus, "MAX_AGE", 0.5)
            await eventually(lambda: len(one.bus) == 0)
        assert one.bus.dropped == 1
        await eventually(lambda: other.bus.is_receiving)
        other.gaps.clear()
        cable.heal()
        await eventually(lambda: one.bus.is_receiving)
        one.bus.publish(["a"], b"kept")
        await until_heard(other, 1)
        assert other.bodies() == [b"kept"]
        await eventually(lambda: bool(other.gaps))


async def test_a_node_that_falls_silent_is_a_gap_and_one_that_leaves_is_not(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_others, "SILENT_AFTER", 1.0)
    async with running_bus(redis.url) as other:
        assert not other.bus.has_others
        async with running_bus(redis.url) as leaving:
            await eventually(lambda: other.bus.has_others)
            assert leaving.bus.is_receiving
        await eventually(lambda: not other.bus.has_others)
        began = time.monotonic()
        async with behind(redis) as (cable, _):
            await eventually(lambda: other.bus.has_others)
            other.gaps.clear()
            cable.blackhole()
            # Of one silence; before it, this machine may have been silent itself.
            gaps = redis_others.GAPS
            await eventually(lambda: len(set(other.gaps[-gaps:])) < len(other.gaps[-gaps:]))
            assert began < other.gaps[-1] < time.monotonic() - gaps * redis_others.SILENT_AFTER


async def test_without_redis_publishing_fails_nobody() -> None:
    links = RedisLinks("redis://127.0.0.1:1")
    listener = Listener(RedisBus(links.connect, PREFIX, Signatures()))
    listener.start()
    for _ in range(MESSAGES):
        listener.bus.publish(["a"], b"x")
    confirmed = listener.bus.listen("a")
    await asyncio.sleep(0.1)
    assert not confirmed.done()
    assert not listener.bus.is_receiving
    await listener.bus.close()
    await links.close()
