"""The bodies of polling requests: packets, as far as the protocol allows them."""

import asyncio

from aiohttp import hdrs, web

from chatserver.realtime.protocol import MAX_POST_PACKETS, SEPARATOR


async def read_packets(request: web.Request, max_bytes: int, seconds: float) -> list[bytes] | None:
    """The packets of a body of at most `max_bytes` that arrives within `seconds`.

    None for a body that the protocol does not allow.
    """
    length = request.content_length
    if length is None or not 0 < length <= max_bytes:
        return None
    if hdrs.CONTENT_ENCODING in request.headers:  # a small body that unpacks to a large one
        return None
    try:
        async with asyncio.timeout(seconds):
            body = await request.content.readexactly(length)
        body.decode()
    except (OSError, EOFError, web.RequestPayloadError, UnicodeDecodeError):
        return None  # too slow, cut off, or no text
    packets = body.split(SEPARATOR)
    return packets if len(packets) <= MAX_POST_PACKETS else None
