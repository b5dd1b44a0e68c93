"""What a page asks before somebody has signed in: the limits of this server."""

from tests.integration.api.conftest import Start
from tests.integration.api.rest import API


async def test_anybody_may_ask_for_the_limits_and_keep_them_for_a_while(start: Start) -> None:
    rest = await start(
        messages__max_length=700, messages__edit_window=60.0, realtime__max_packet_bytes=50_000
    )
    reply = await rest.get(f"{API}/config", user=None)
    assert reply.status == 200
    assert reply.json == {"max_length": 700, "edit_window": 60.0, "max_packet_bytes": 50_000}
    assert reply.headers["Cache-Control"] == "public, max-age=60"
