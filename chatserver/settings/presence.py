"""[presence]: how long a socket's sign of life is believed, and its end not told."""

from dataclasses import dataclass

from chatserver.settings.section import PositiveFloat, Section


@dataclass(frozen=True, slots=True)
class PresenceSettings(Section):
    lease_ttl: PositiveFloat
    offline_grace: float
