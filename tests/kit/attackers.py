"""Connections that keep a server waiting, byte by byte."""

import asyncio

from tests.kit.app import Person
from tests.kit.stalls import PATIENCE

DRIP = 0.1
"""Seconds between two drops."""


async def drip(
    port: int,
    words: bytes,
    drop: bytes = b"",
    patience: float = PATIENCE,
    *,
    to_the_end: bool = True,
) -> bytes:
    """Send `words` and then `drop` again and again: what comes back until the end.

    `to_the_end` False: leave when anything has come. TimeoutError when the server has
    not closed the connection after `patience` seconds.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)

    async def go_on() -> None:
        while drop:
            await asyncio.sleep(DRIP)
            writer.write(drop)

    dripping = asyncio.create_task(go_on())
    answer = b""
    try:
        async with asyncio.timeout(patience):
            while data := await reader.read(65536):
                answer += data
                if not to_the_end:
                    break
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        writer.close()
    return answer


def post(person: Person, length: int | None) -> bytes:
    """The head of a request whose body has this length, or, None, comes in chunks."""
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        "POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"{body}\r\nAuthorization: Bearer {person.token()}\r\n\r\n"
    ).encode()
