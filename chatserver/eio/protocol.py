"""The Engine.IO protocol's constants, and what an Engine.IO connection carries."""

from typing import Final, Protocol

from chatserver.eio.websocket import text_frame


class Reason:
    """Why a connection ended; the words are python-engineio's."""

    SERVER_DISCONNECT: Final = "server disconnect"
    CLIENT_DISCONNECT: Final = "client disconnect"
    PING_TIMEOUT: Final = "ping timeout"
    TRANSPORT_CLOSE: Final = "transport close"
    TRANSPORT_ERROR: Final = "transport error"


# Engine.IO packets without data: the type is the packet.
CLOSE: Final = b"1"
NOOP: Final = b"6"
PING_FRAME: Final = text_frame(b"2")
PROBE: Final = b"2probe"
PROBE_ANSWER: Final = text_frame(b"3probe")
UPGRADE: Final = b"5"

# Ends each packet but the last in a polling body.
SEPARATOR: Final = b"\x1e"
# The most packets in the answer to one poll: clients built on python-engineio refuse
# more.
MAX_POLL_PACKETS: Final = 16
# The most packets that one POST may bring. It is no limit to honest clients, which send
# all that was emitted in one turn in one POST: the size of the body is, and a full queue
# holds the rest of the packets back.
MAX_POST_PACKETS: Final = 4096
# How long a poll waits while a websocket is being probed, in seconds.
POLL_WHILE_PROBING: Final = 0.1

MAX_IDLE_PACKETS: Final = 200
"""The most packets and control frames of one client from one of our pings to the next that
ask for nothing (pongs, acks of nothing): no budget pays for them. Honest ones are few."""

# Websocket close codes.
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013


class Limits(Protocol):
    """The settings of an Engine.IO server; seconds and bytes."""

    @property
    def ping_interval(self) -> float: ...

    @property
    def ping_timeout(self) -> float: ...

    @property
    def connect_timeout(self) -> float:
        """Seconds that a client may take to upgrade to a websocket, or to authenticate."""

    @property
    def max_packet_bytes(self) -> int: ...

    @property
    def max_queue_bytes(self) -> int:
        """Most bytes that may wait for one client; one that lets more wait is dropped."""

    @property
    def max_sockets_per_address(self) -> int:
        """0 is any number."""


class Receiver(Protocol):
    """Protocol above an Engine.IO connection: Socket.IO."""

    @property
    def is_busy(self) -> bool:
        """True while something that was received is not yet handled and answered."""

    def receive(self, data: bytes) -> None:
        """Take the payload of one message packet; never blocks, never raises."""

    def receive_binary(self) -> None:
        """Take note of a binary message, whose bytes nobody keeps."""

    def receive_head(self, head: bytes) -> None:
        """Take the first bytes of the payload of a message packet that was too large."""

    def closed(self, reason: str) -> None:
        """The connection is gone; called exactly once, never raises."""
