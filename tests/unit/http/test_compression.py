"""Which answers are compressed, and that their size tells nothing."""

import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from chatserver.http.compression import MAX_BYTES_IN_LOOP, MIN_BYTES, compress

TEXT = b'{"content": "Is the flat still free?"}, '
LARGE = TEXT * (MIN_BYTES // len(TEXT) + 1)
HUGE = TEXT * (MAX_BYTES_IN_LOOP // len(TEXT) + 1)


async def compressed(
    body: bytes | None,
    accepted: str | None = "gzip",
    kind: str = "application/json",
    headers: dict[str, str] | None = None,
) -> web.Response:
    sent = {} if accepted is None else {"Accept-Encoding": accepted}
    response = web.Response(body=body, content_type=kind, headers=headers)
    await compress(make_mocked_request("GET", "/", sent), response)
    return response


@pytest.mark.parametrize(
    "accepted",
    ["gzip", "br, gzip, deflate", "GZIP;q=0.5", "*", "identity;q=0.1, *;q=1", "gzip; q=1"],
)
@pytest.mark.parametrize("body", [LARGE, HUGE], ids=["large", "huge"])
async def test_what_is_worth_it_is_compressed_for_those_who_take_it(
    accepted: str, body: bytes
) -> None:
    response = await compressed(body, accepted)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert isinstance(response.body, bytes)
    assert len(response.body) < len(body) / 2
    assert gzip.decompress(response.body) == body


@pytest.mark.parametrize(
    "accepted", [None, "", "br, deflate", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "xgzip"]
)
async def test_who_does_not_take_it_gets_it_plain_and_caches_are_told(accepted: str | None) -> None:
    response = await compressed(LARGE, accepted, headers={"Vary": "Origin"})
    assert response.body == LARGE
    assert "Content-Encoding" not in response.headers
    assert response.headers["Vary"] == "Origin, Accept-Encoding"


@pytest.mark.parametrize(
    ("body", "kind", "headers"),
    [
        (None, "application/json", {}),
        (LARGE[: MIN_BYTES - 1], "application/json", {}),
        (LARGE, "image/jpeg", {}),
        (LARGE, "application/json", {"Content-Encoding": "br"}),
    ],
    ids=["nothing", "small", "picture", "compressed"],
)
async def test_what_gains_nothing_stays_as_it_is(
    body: bytes | None, kind: str, headers: dict[str, str]
) -> None:
    response = await compressed(body, kind=kind, headers=headers)
    assert response.body == body
    assert response.headers.get("Content-Encoding") == headers.get("Content-Encoding")
    assert "Vary" not in response.headers


async def test_the_size_of_an_answer_is_left_to_chance() -> None:
    """Else a right guess at what else is in it would make it smaller."""
    bodies = [(await compressed(LARGE)).body for _ in range(60)]
    sizes = {len(body) for body in bodies if isinstance(body, bytes)}
    assert len(sizes) > 15
    assert max(sizes) - min(sizes) > 30
