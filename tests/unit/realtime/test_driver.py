"""Websocket frames as bytes."""

import pytest

from chatserver.eio.websocket import frame_payload, text_frame
from tests.unit.realtime.wire import running_node, until


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_the_payload_of_a_frame_is_found_again(size: int) -> None:
    payload = b"x" * size
    frame = text_frame(payload)
    assert frame_payload(frame) == payload
    assert frame[0] == 0x81
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65536 else 10)


async def test_who_pings_and_goes_is_heard_to_the_end_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_node() as node:
        client = await node.connected()
        # All before the server reads any of it; it finds out when it answers the first ping.
        for _ in range(3):
            await client.ws.ping()
        await client.send('42["last",{}]')
        client.drop()
        await until(lambda: node.script.count("disconnect") == 1)
        await node.until_empty()
        assert [call[-1] for call in node.script.calls if call[0] == "event"] == ["last"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
