"""An `unread` event that Redis carries late replaces nothing that a device knows better."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from chatserver.dev.redis import EmbeddedRedis
from chatserver.realtime.room_names import user_room
from tests.kit.app import running_server
from tests.kit.clients import Device
from tests.kit.devices import held_open
from tests.kit.services import until_someone_waits
from tests.kit.waiting import eventually
from tests.system.nodes.town import Town, running_town

pytestmark = pytest.mark.usefixtures("patient")


@dataclass
class Afresh:
    """A node that was started after the landlord had got a message, and had read it.

    `late` is the event of the message, `newest` that of the reading. Both devices are
    the landlord's, on the new node.
    """

    town: Town
    late: dict[str, Any]
    newest: dict[str, Any]
    desk: Device
    phone: Device

    def tell_late(self) -> None:
        """As a node does that had kept the event for a Redis that was away."""
        room = user_room(self.town.chat.landlord.id)
        self.town.nodes[0].node.sockets.adapter.emit_now("unread", self.late, [room])

    async def until_told_newest(self) -> None:
        """Until it is the last word to both; by then the late one has come or never will."""
        for device in (self.desk, self.phone):
            await device.until(lambda device: device.of("unread")[-1:] == [self.newest])


@pytest.fixture
async def afresh(database_url: str, redis: EmbeddedRedis) -> AsyncIterator[Afresh]:
    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(running_town(database_url, redis.port))
        await town.send()
        late = (await town.landlord.heard("unread"))[0]
        await town.landlord.call("read", {"conversation_id": town.chat.id, "seq": 1})
        await town.landlord.until(lambda device: device.of("unread")[-1]["unread_count"] == 0)
        newest = town.landlord.of("unread")[-1]
        url = f"redis://127.0.0.1:{redis.port}"
        node = await stack.enter_async_context(running_server(database_url, redis__url=url))
        bus = node.node.backplane.bus
        assert bus is not None
        await eventually(lambda: bus.is_receiving)
        devices = []
        for _ in range(2):
            device = await Device.open(town.http, node.base_url, town.chat.landlord)
            stack.push_async_callback(device.close)
            devices.append(device)
        yield Afresh(town, late, newest, *devices)


async def test_after_a_sync_every_device_of_the_user_is_told_how_it_is_instead(
    afresh: Afresh,
) -> None:
    synced = await afresh.desk.call("sync", {})
    assert [one["unread_count"] for one in synced["conversations"]] == [0]
    afresh.tell_late()
    await afresh.until_told_newest()
    assert afresh.late not in [*afresh.desk.of("unread"), *afresh.phone.of("unread")]


async def test_what_came_while_a_sync_was_under_way_is_corrected(
    afresh: Afresh, database_url: str
) -> None:
    """It came after the question, so a client takes it for newer than the answer."""
    lock = "LOCK TABLE chat.unread_totals"
    async with held_open(database_url, lock) as connection, asyncio.TaskGroup() as tasks:
        syncing = tasks.create_task(afresh.desk.call("sync", {}))
        await until_someone_waits(connection)
        afresh.tell_late()
        await afresh.desk.heard("unread")
        await connection.execute("COMMIT")
        assert (await syncing)["ok"]
    await afresh.until_told_newest()
