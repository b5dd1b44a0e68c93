"""Answers of REST go out compressed, and the reference, too."""

from tests.integration.api.conftest import Start
from tests.integration.api.rest import Rest


async def test_thirty_messages_take_a_third_of_their_size_at_most(rest: Rest) -> None:
    conversation = await rest.open()
    for number in range(30):
        await rest.send(conversation, f"Is the flat still free on day {number} of March?")
    path = f"{conversation}/messages?limit=30"
    plain = await rest.get(path, headers={"Accept-Encoding": "identity"})
    packed = await rest.get(path)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert {"Origin", "Accept-Encoding"} <= set(packed.headers["Vary"].split(", "))
    assert packed.json == plain.json
    assert int(plain.headers["Content-Length"]) == len(plain.content)
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 3


async def test_the_reference_is_compressed_where_that_is_wanted(start: Start) -> None:
    rest = await start()
    for path in ("/api/docs", "/api/openapi.json"):
        plain = await rest.get(path, user=None, headers={"Accept-Encoding": "identity"})
        packed = await rest.get(path, user=None)
        assert packed.headers["Content-Encoding"] == "gzip"
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Origin, Accept-Encoding"
        assert packed.content == plain.content
        assert int(packed.headers["Content-Length"]) < len(plain.content) / 5
