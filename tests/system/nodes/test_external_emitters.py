"""Events of other programs: where they are switched on, and never the server's own."""

from collections.abc import AsyncIterator

import orjson
import pytest
import socketio  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from chatserver.dev.redis import EmbeddedRedis
from chatserver.realtime.external import RESERVED
from tests.kit.redis import redis_client
from tests.kit.waiting import eventually
from tests.system.nodes.town import Town, running_town

pytestmark = pytest.mark.usefixtures("patient")

CHANNEL = "chat:socketio"
COMMANDS = ("disconnect", "enter_room", "leave_room", "close_room", "callback")


@pytest.fixture
async def open_town(database_url: str, redis: EmbeddedRedis) -> AsyncIterator[Town]:
    on = {"redis__external_emitters": True}
    async with running_town(database_url, redis.port, **on) as running:
        yield running


def not_obeyed(town: Town, node: int) -> int:
    return town.nodes[node].node.manager.external_refused


async def test_pythons_own_emitter_reaches_the_sockets_of_every_node_where_it_may(
    open_town: Town, database_url: str, redis: EmbeddedRedis
) -> None:
    """As the host's back end would do it, with the library that it has."""
    emitter = socketio.AsyncRedisManager(redis.url, channel=CHANNEL, write_only=True)
    async with running_town(database_url, redis.port) as closed_town:
        landlord = open_town.chat.landlord.id
        await emitter.emit("offer", {"price": 1}, room=f"user:{landlord}")
        await emitter.emit("offer", {"price": 2})
        assert await open_town.landlord.heard("offer", 2) == [{"price": 1}, {"price": 2}]
        assert await open_town.tenant.heard("offer") == [{"price": 2}]
        for node in (0, 1):
            await eventually(lambda node=node: not_obeyed(closed_town, node) == 2)  # type: ignore[misc]
        assert closed_town.tenant.of("offer") == closed_town.landlord.of("offer") == []
    await emitter.redis.aclose()


async def test_a_callback_in_another_program_is_refused_and_said_so(
    open_town: Town, redis: EmbeddedRedis
) -> None:
    """By the library where it only writes, and here where it would listen, too."""
    room = f"user:{open_town.chat.landlord.id}"
    writer = socketio.AsyncRedisManager(redis.url, channel=CHANNEL, write_only=True)
    with pytest.raises(RuntimeError, match="context of a server"):
        await writer.emit("offer", {"price": 1}, room=room, callback=print)
    foreign = socketio.AsyncServer(client_manager=socketio.AsyncRedisManager(redis.url, CHANNEL))
    with capture_logs() as logs:
        await foreign.emit("offer", {"price": 2}, room=room, callback=print)
        await foreign.emit("offer", {"price": 3}, room=room, namespace="/other")
        await foreign.emit("offer", b"binary", room=room)
        for node in (0, 1):
            await eventually(lambda node=node: not_obeyed(open_town, node) == 3)  # type: ignore[misc]
    reasons = [log["reason"] for log in logs if log["event"] == "external_emit_refused"]
    assert sorted(set(reasons)) == [
        "no acknowledgement is sent to other programs",
        "the data is not JSON for the namespace /",
    ]
    await foreign.emit("offer", {"price": 4}, room=room)
    assert await open_town.landlord.heard("offer") == [{"price": 4}]
    await foreign.manager.redis.aclose()


async def test_no_other_program_speaks_for_the_server_or_commands_it(
    open_town: Town, redis: EmbeddedRedis
) -> None:
    """Not in the name of a node either, while what is not signed is still taken."""
    assert not open_town.nodes[1].node.backplane.signatures.is_required
    emitter = socketio.AsyncRedisManager(redis.url, channel=CHANNEL, write_only=True)
    room = f"user:{open_town.chat.landlord.id}"
    sid = open_town.nodes[1].node.open_sessions.open_sockets()[0][1]
    names = sorted(RESERVED)
    for event in names:
        await emitter.emit(event, {"content": "forged"}, room=room)
    bus = open_town.nodes[0].node.backplane.bus
    assert bus is not None
    head = b"%b:%d\n" % (bus.node_id.hex.encode(), 10**17)
    async with redis_client(redis) as forger:
        for command in COMMANDS:
            parts = {"sid": sid, "room": room, "namespace": "/", "id": 1, "args": []}
            message = orjson.dumps({"method": command, **parts, "host_id": "x"})
            await forger.publish(CHANNEL, message)
            await forger.publish(CHANNEL, head + message)
    await eventually(lambda: not_obeyed(open_town, 1) == len(names) + 2 * len(COMMANDS))
    await emitter.emit("offer", {"price": 3}, room=room)
    assert await open_town.landlord.heard("offer") == [{"price": 3}]
    assert [name for name, _ in open_town.landlord.events if name in RESERVED] == []
    assert not open_town.landlord.is_closed.is_set()
    await emitter.redis.aclose()
