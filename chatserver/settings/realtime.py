"""[realtime]: the heartbeat of a socket, and what it may have under way."""

from dataclasses import dataclass

from chatserver.settings.section import PositiveFloat, PositiveInt, Section


@dataclass(frozen=True, slots=True)
class RealtimeSettings(Section):
    ping_interval: PositiveFloat
    ping_timeout: PositiveFloat
    connect_timeout: PositiveFloat
    max_packet_bytes: PositiveInt
    max_queue_bytes: PositiveInt
    max_pending_events: PositiveInt
    handler_timeout: PositiveFloat
    max_sockets_per_user: int
    max_sockets_per_address: int
