"""The opening handshake of a websocket, after which its connection has left HTTP."""

import base64
import hashlib
from typing import Any, Final

from aiohttp import hdrs, web

from chatserver.eio.frames import FrameReader
from chatserver.eio.websocket import WebSocket

# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Early:
    """The parser of a connection that is handed over: it takes what has come already."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed(data)
        return False, b""

    def feed_eof(self) -> None:
        """Nothing ends: the connection goes on."""


async def accept(request: web.Request, reader: FrameReader) -> tuple[WebSocket, web.StreamResponse]:
    """Answer a handshake: the open websocket, and what the request's handler has to return.

    From then on the connection is the websocket's. aiohttp is told that it was lost, so
    that nothing of the request stays; it would close its transport, so it has none.
    Raises HTTPBadRequest for a bad handshake, and ConnectionError.
    """
    if not web.WebSocketResponse(compress=False).can_prepare(request):
        raise web.HTTPBadRequest
    response = web.StreamResponse(status=101, headers=_headers(request))
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    websocket = WebSocket(transport, reader)
    connection: Any = request.protocol
    connection.set_parser(_Early(reader))
    transport.set_protocol(websocket)
    connection.transport = None
    connection.connection_lost(None)
    return websocket, response


def _headers(request: web.Request) -> dict[str, str]:
    key = request.headers[hdrs.SEC_WEBSOCKET_KEY].encode()
    accepted = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324  # RFC 6455
    return {
        hdrs.UPGRADE: "websocket",
        hdrs.CONNECTION: "upgrade",
        hdrs.SEC_WEBSOCKET_ACCEPT: accepted.decode(),
    }
