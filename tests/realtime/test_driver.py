"""Websocket frames as bytes."""

import pytest

from chatserver.realtime.driver import frame_payload, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_the_payload_of_a_frame_is_found_again(size: int) -> None:
    payload = b"x" * size
    frame = text_frame(payload)
    assert frame_payload(frame) == payload
    assert frame[0] == 0x81
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65536 else 10)
