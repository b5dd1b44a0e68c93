"""The raw websocket door: `GET /ws/chat/{conversation_id}?token=`, one conversation in JSON frames.

A connection is one more client of the Socket.IO namespace. What is its own are the
frames (`raw_frames`), the heartbeat by websocket pings, and the close codes.
"""

from typing import ClassVar, Final

from aiohttp import web

from chatserver.eio.handshakes import environ_of, wants_websocket
from chatserver.eio.protocol import SERVICE_RESTART
from chatserver.eio.responses import EngineError
from chatserver.eio.server import EngineServer
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import WebSocket
from chatserver.realtime.raw_clients import RawClient
from chatserver.realtime.raw_frames import Rewording
from chatserver.sio.server import ChatSocketServer

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


class RawDoor:
    """Opens raw websockets on the engine of `server`, with its origins, caps and drain.

    The token comes in an Authorization header or, with `takes_query_token`, as `?token=`.
    """

    def __init__(self, server: ChatSocketServer, *, takes_query_token: bool) -> None:
        self._server = server
        self._takes_query_token = takes_query_token
        self._rewording = Rewording()

    def attach(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.handle_request, allow_head=False)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """The handler of the endpoint; raises only for a lost peer."""
        engine: EngineServer = self._server.eio
        return await engine.respond(request, self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if not wants_websocket(request):
            raise EngineError(3, "Upgrade to a websocket", "not_upgraded", status=426)
        engine: EngineServer = self._server.eio
        address = engine.admit(request)
        socket = RawSocket(engine, engine.generate_id(), address, RawSocket.WEBSOCKET)
        token = self._token(request)
        # Its query is for us alone: the namespace has another setting for that of its own.
        environ = {**environ_of(request), "QUERY_STRING": ""}
        self._server.environ[socket.sid] = environ
        conversation_id = request.match_info["conversation_id"]
        client = RawClient(self._server, socket, conversation_id, self._rewording)
        socket.start(client)
        engine.register(socket)

        def serve(websocket: WebSocket) -> None:
            if socket.closed:  # by a drain
                websocket.close(SERVICE_RESTART)
                return
            client.connect(token)
            socket.open(websocket)

        return await engine.serve_websocket(socket, request, serve, cuts_messages=False)

    def _token(self, request: web.Request) -> str | None:
        return request.query.get("token") if self._takes_query_token else None
