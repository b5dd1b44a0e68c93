"""The raw websocket: `GET /ws/chat/{conversation_id}?token=`, one conversation in JSON frames.

A connection is one more client of the Socket.IO namespace. What is its own are the
frames (`raw_frames`), the heartbeat by websocket pings, and the close codes.
"""

from typing import ClassVar, Final

from aiohttp import web

from chatserver.eio.handshakes import wants_websocket
from chatserver.eio.protocol import SERVICE_RESTART
from chatserver.eio.responses import EngineError
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import WebSocket
from chatserver.realtime.raw_clients import RawClient
from chatserver.realtime.raw_frames import Rewording
from chatserver.sio.server import SocketServer

PATH: Final = "/ws/chat/{conversation_id}"


class RawSocket(EngineSocket):
    """A connection without Engine.IO: every text frame is a message.

    It has the queue and the end of an `EngineSocket`, and its heartbeat with the ping and
    pong frames of websockets, which browsers answer by themselves.
    """

    WEBSOCKET: ClassVar[str] = "raw"
    PING: ClassVar[bytes] = b"\x89\x00"

    __slots__ = ()

    def receive_packet(self, data: bytes) -> None:
        if not (self.closed or self.is_leaving):
            self.receiver.receive(data)

    def receive_control(self, *, is_pong: bool) -> None:
        if is_pong:
            self.receive_pong()
        else:
            self.count_idle()


class RawEndpoint:
    """Opens raw websockets on the engine of `sockets`, with its origins, caps and drain.

    The token comes in an Authorization header or, with `takes_query_token`, as `?token=`.
    """

    def __init__(self, sockets: SocketServer, *, takes_query_token: bool) -> None:
        self._sockets = sockets
        self._engine = sockets.engine
        self._takes_query_token = takes_query_token
        self._rewording = Rewording()

    def attach(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.handle_request, allow_head=False)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """The handler of the endpoint; raises only for a lost peer."""
        return await self._engine.respond(request, self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if not wants_websocket(request):
            raise EngineError(3, "Upgrade to a websocket", "not_upgraded", status=426)
        engine = self._engine
        address = engine.admit(request)
        socket = RawSocket(engine, engine.generate_id(), address, is_websocket=True)
        # Its query is for us alone: the namespace has another setting for that of its own.
        environ = {**engine.environ_of(request), "QUERY_STRING": ""}
        conversation_id = request.match_info["conversation_id"]
        client = RawClient(self._sockets, socket, environ, conversation_id, self._rewording)
        engine.start(socket, client)
        token = request.query.get("token") if self._takes_query_token else None

        def begin(websocket: WebSocket) -> None:
            if socket.closed:  # by a drain
                websocket.close(SERVICE_RESTART)
            else:
                client.connect(token)
            socket.open(websocket)

        return await engine.open_websocket(socket, request, begin, cuts_messages=False)
