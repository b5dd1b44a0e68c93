"""The upgrade of a polling session: what its client says on the websocket before it."""

from chatserver.eio.clock import Clock
from chatserver.eio.protocol import PROBE, PROBE_ANSWER, PROTOCOL_ERROR, UPGRADE
from chatserver.eio.session import EngineSocket
from chatserver.eio.websocket import WebSocket


class Probe:
    """A websocket on which the client of a polling session may change over to it.

    It does so with UPGRADE, mostly after a probe (.NET's SocketIOClient does without).
    When that does not happen within `seconds`, or with anything unexpected, only the
    websocket is closed and polling goes on.
    """

    def __init__(
        self, socket: EngineSocket, websocket: WebSocket, clock: Clock, seconds: float
    ) -> None:
        self._socket = socket
        self._websocket = websocket
        self._is_probed = False
        self._is_over = False
        self._timer = clock.call_later(seconds, self.close)
        socket.probe = self

    def receive_packet(self, data: bytes) -> None:
        if self._is_over:
            return
        if data == UPGRADE:
            self._end()
            self._socket.upgrade(self._websocket)
        elif data == PROBE and not self._is_probed:
            self._is_probed = True
            self._websocket.write([PROBE_ANSWER])
            self._socket.release_poll()  # clients wait for it to end
        else:
            self.close()

    def receive_control(self, *, is_pong: bool) -> None:
        self._socket.count_idle()

    def websocket_lost(self) -> None:
        self._end()

    def close(self, code: int = PROTOCOL_ERROR) -> None:
        if not self._is_over:
            self._end()
            self._websocket.close(code)

    def _end(self) -> None:
        self._is_over = True
        self._timer.cancel()
        self._socket.probe = None
