"""Whoever writes to Redis in a node's name keeps nothing of that node back."""

from collections.abc import AsyncIterator

import pytest

from chatserver.dev.redis import EmbeddedRedis
from tests.kit.redis import redis_client
from tests.kit.services import connected
from tests.system.nodes.town import Town, running_town

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def town(database_url: str, redis: EmbeddedRedis) -> AsyncIterator[Town]:
    async with running_town(database_url, redis.port) as running:
        yield running


async def test_a_huge_number_in_a_nodes_name_silences_it_for_nobody(
    town: Town, database_url: str, redis: EmbeddedRedis
) -> None:
    """Neither while older nodes may live nor once signatures are required."""
    one, other = (town.nodes[n].node for n in (0, 1))
    room = f"user:{town.chat.landlord.id}"
    # Until a node has been heard to sign, what is not signed may be an older one's.
    await town.send("signed")
    await town.landlord.heard("message")
    async with redis_client(redis) as forger:
        for number in (10**17, 10**18 - 1):
            head = b"%b:%d\n" % (one.nodes.id.hex.encode(), number)
            forged = head + b'[["%b"],[]]\n42["message",{"content":"forged"}]' % room.encode()
            assert await forger.publish(f"chat:{room}", forged) == 1
            await town.send(f"after {number}")
            await town.landlord.until(
                lambda device, wanted=f"after {number}": any(  # type: ignore[misc]
                    message["content"] == wanted for message in device.of("message")
                )
            )
            async with connected(database_url) as connection:
                await connection.execute("INSERT INTO chat.promises VALUES ('signed_bus')"
                                         " ON CONFLICT DO NOTHING")  # fmt: skip
            await other.nodes.look()
            assert other.backplane.signatures.is_required
    bus = other.backplane.bus
    assert bus is not None
    assert (bus.received["forged"], bus.received["unsigned"]) == (1, 1)
    contents = [message["content"] for message in town.landlord.of("message")]
    assert "forged" not in contents
