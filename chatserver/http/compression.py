"""Compressed answers of both edges: gzip for those who take it, where it saves something."""

import asyncio
import gzip
import io
import secrets
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web

GZIP: Final = "gzip"

MIN_BYTES: Final = 1400
"""Smallest body that is compressed, in bytes: one TCP segment is sent no faster when smaller."""

MAX_BYTES_IN_LOOP: Final = 65_536
"""Up to here it takes a quarter of a millisecond; what is larger goes to a thread."""

LEVEL: Final = 1
"""A page of history becomes a fifth of its size; the default level makes it a tenth smaller
still and takes half as long again, up to five times as long where texts are long."""

MAX_PADDING: Final = 100
"""Bytes of chance in the head of each answer, so that its size tells nothing of its content."""

_TYPES: Final = ("application/json", "application/problem+json", "text/plain", "text/html")


async def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress the body of `response`, unless it is small, no text, or compressed already."""
    if not isinstance(response, web.Response) or not isinstance(body := response.body, bytes):
        return
    if len(body) < MIN_BYTES or hdrs.CONTENT_ENCODING in response.headers:
        return
    if response.content_type not in _TYPES:
        return
    _vary_by_encoding(response)
    if not accepts_gzip(request):
        return
    if len(body) > MAX_BYTES_IN_LOOP:
        response.body = await asyncio.to_thread(_gzip, body)
    else:
        response.body = _gzip(body)
    response.headers[hdrs.CONTENT_ENCODING] = GZIP


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the caller names gzip, or anything, and does not give it a weight of 0."""
    weights = dict(_weights(request.headers.getall(hdrs.ACCEPT_ENCODING, ())))
    return weights.get(GZIP, weights.get("*", False))


def _vary_by_encoding(response: web.StreamResponse) -> None:
    """Tell caches that another caller may get the same thing in another encoding."""
    known = response.headers.get(hdrs.VARY, "")
    if hdrs.ACCEPT_ENCODING not in known:
        response.headers[hdrs.VARY] = ", ".join(filter(None, (known, hdrs.ACCEPT_ENCODING)))


def _weights(values: Sequence[str]) -> list[tuple[str, bool]]:
    """The codings of Accept-Encoding, and whether each is wanted at all."""
    found = []
    for part in ",".join(values).split(","):
        coding, _, weight = part.partition(";")
        is_refused = weight.replace(" ", "").rstrip("0.").lower() == "q="
        found.append((coding.strip().lower(), not is_refused))
    return found


def _gzip(body: bytes) -> bytes:
    """`body` with a file name of a random length in its head, which nobody reads.

    A participant who can see how long the other's encrypted answers are, and whose own
    text is in them, could else guess at what else is: it compresses better when the
    guess is right. See docs/decisions/compression.md.
    """
    name = "a" * secrets.randbelow(MAX_PADDING)
    packed = io.BytesIO()
    with gzip.GzipFile(name, "wb", LEVEL, packed, mtime=0) as file:
        file.write(body)
    return packed.getvalue()
