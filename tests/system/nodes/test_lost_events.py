"""Redis fails in every way; sends go on, and what was not heard is found by `head`."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatserver.backplane import redis_bus
from chatserver.dev.redis import EmbeddedRedis
from chatserver.services.reconciliation import ReconciliationService
from tests.kit.raw import RawDevice
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually
from tests.system.nodes.town import Town, running_town


@pytest.fixture
async def town(
    database_url: str, redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Town]:
    """Each node has noted where the database stands: from there on it finds what was lost."""
    noted: set[ReconciliationService] = set()

    def note(service: Any, mark: Any, _note: Any = ReconciliationService._note) -> None:
        _note(service, mark)
        noted.add(service)

    monkeypatch.setattr(ReconciliationService, "_note", note)
    async with running_town(database_url, redis.port) as running:
        await eventually(lambda: len(noted) == len(running.nodes))
        yield running


async def until_told(town: Town, last_seq: int) -> str:
    """Until the landlord knows of message `last_seq`: by which event."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        if any(message["seq"] == last_seq for message in town.landlord.of("message")):
            return "message"
        if any(head["last_seq"] >= last_seq for head in town.landlord.of("head")):
            return "head"
        await asyncio.sleep(0.02)
    raise AssertionError(f"not told; heard {town.landlord.events}")


@pytest.mark.parametrize("who", ["the sender's node", "the receiver's node"])
@pytest.mark.parametrize("how", ["blackholed", "refused"])
async def test_the_last_message_of_a_cut_off_node_is_told_by_a_head(
    town: Town, who: str, how: str
) -> None:
    cable = town.cables[0 if who == "the sender's node" else 1]
    if how == "blackholed":
        cable.blackhole()
    else:
        cable.refuse()
    await town.send("the last one for long")
    assert await until_told(town, 1) == "head"
    await town.send("and another, still cut off")
    assert await until_told(town, 2) == "head"
    assert town.landlord.of("message") == []


async def test_a_raw_websocket_on_a_cut_off_node_is_told_to_come_again(town: Town) -> None:
    """It has no sync: who comes again reads the history, where everything is."""
    address = town.nodes[1].base_url
    raw = await RawDevice.open(town.http, address, town.chat, town.chat.landlord)
    await raw.send(type="message", content="Anybody there?")
    await raw.heard("message")
    town.cables[1].blackhole()
    await town.send("You will not hear this")
    frames, code = await raw.ended()
    assert ([frame["data"]["seq"] for frame in frames], code) == ([1], 1012)
    await raw.close()


async def test_after_the_cut_messages_flow_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.cables[1].blackhole()
    await eventually(lambda: not town.hears(1))
    await town.send()
    await until_told(town, 1)
    town.cables[1].heal()
    await eventually(lambda: town.hears(1))
    monkeypatch.setattr(redis_bus, "PARTITIONED_AFTER", 20.0)
    await eventually(lambda: town.hears(0) and town.hears(1))
    await town.send()
    await town.landlord.until(lambda device: bool(device.of("message")))
    assert town.landlord.of("message")[-1]["seq"] == 2


async def test_sends_go_on_while_redis_restarts(town: Town, redis: EmbeddedRedis) -> None:
    redis.kill()
    for _ in range(10):
        await town.send()
    redis.start()
    await eventually(lambda: town.hears(0) and town.hears(1))
    await until_told(town, 10)
    await town.send()
    assert await until_told(town, 11)
    messages = [message["seq"] for message in town.landlord.of("message")]
    assert messages == sorted(set(messages)), "once each, in order"


async def test_a_frozen_redis_holds_up_no_acknowledgement(town: Town, redis: EmbeddedRedis) -> None:
    redis.freeze()
    for _ in range(50):
        await town.send()
    assert await until_told(town, 50) == "head"
    redis.thaw()
    await eventually(lambda: town.hears(0) and town.hears(1))


async def test_an_overflowing_queue_is_told(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events themselves are dropped; a `head` comes instead."""
    monkeypatch.setattr("chatserver.backplane.redis_channels.MAX_WAITING_BYTES", 100)
    await town.send()
    assert await until_told(town, 1) == "head"


async def test_readiness_says_when_a_node_is_partitioned_and_when_it_is_not(town: Town) -> None:
    async def ready(node: int) -> int:
        return (await town.rests[node].get("/readyz")).status

    async def until_ready(*wanted: int) -> None:
        """What was asked of late stands for a moment, and a busy machine is not ready."""
        async with asyncio.timeout(PATIENCE):
            while (await ready(0), await ready(1)) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    await until_ready(200, 200)
    town.cables[1].blackhole()
    await eventually(lambda: not town.hears(1))
    await until_ready(200, 503)
    town.cables[1].heal()
    await until_ready(200, 200)
