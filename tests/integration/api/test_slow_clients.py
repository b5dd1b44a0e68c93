"""Requests as they come off the wire: doubled headers, bodies that do not arrive."""

import asyncio

from tests.integration.api.conftest import Log, Start
from tests.integration.api.rest import API, Rest
from tests.kit.stalls import PATIENCE

CONVERSATIONS = f"{API}/conversations"


async def exchange(rest: Rest, request: bytes) -> bytes:
    """Send `request` as it is: the answer, to the end of its JSON."""
    reader, writer = await asyncio.open_connection(rest.host, rest.port)
    writer.write(request)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.readuntil(b"}")
    finally:
        writer.close()


def raw_request(rest: Rest, target: bytes, *, headers: bytes = b"", body: bytes = b"") -> bytes:
    return (
        target + b" HTTP/1.1\r\nHost: chat\r\nAuthorization: Bearer "
        + rest.token(rest.tenant).encode() + b"\r\n" + headers + b"\r\n" + body
    )  # fmt: skip


async def test_two_authorization_headers_are_none(rest: Rest) -> None:
    headers = f"Authorization: Bearer {rest.token(rest.landlord)}\r\n".encode()
    answer = await exchange(
        rest, raw_request(rest, f"GET {API}/unread-count".encode(), headers=headers)
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_body_that_does_not_come_in_time_is_a_timeout(start: Start) -> None:
    rest = await start(server__request_timeout=0.1)
    headers = b"Content-Type: application/json\r\nContent-Length: 10\r\n"
    request = raw_request(rest, f"POST {CONVERSATIONS}".encode(), headers=headers, body=b"{")
    answer = await exchange(rest, request)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    assert b'"code":"request_timeout"' in answer


async def test_a_client_that_goes_away_amid_its_body_is_no_failure(
    log: Log, own_rest: Rest
) -> None:
    rest = own_rest
    headers = b"Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
    reader, writer = await asyncio.open_connection(rest.host, rest.port)
    writer.write(raw_request(rest, f"POST {CONVERSATIONS}".encode(), headers=headers, body=b"{"))
    async with asyncio.timeout(PATIENCE):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"  # it is being handled
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while not log.records("request"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [record["status"] for record in log.records("request")] == [499]
    assert "Traceback" not in log.text
