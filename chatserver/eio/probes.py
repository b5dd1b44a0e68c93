"""The upgrade of a polling session: what its client says on the websocket before it."""

from collections.abc import Callable

from chatserver.eio.protocol import PROBE, PROBE_ANSWER, UPGRADE
from chatserver.eio.websocket import WebSocket


async def asks_to_upgrade(websocket: WebSocket, release_poll: Callable[[], None]) -> bool:
    """Whether the client says that it changes over to `websocket`, with or without a probe.

    After a probe `release_poll` is called: clients wait for their poll to end.
    """
    first = await websocket.receive()
    if first == UPGRADE:  # .NET's SocketIOClient does not probe
        return True
    if first != PROBE:
        return False
    websocket.write([PROBE_ANSWER])
    release_poll()
    return await websocket.receive() == UPGRADE
