"""[writer]: the group commit of messages."""

from dataclasses import dataclass

from chatserver.settings.section import PositiveFloat, PositiveInt, Section


@dataclass(frozen=True, slots=True)
class WriterSettings(Section):
    max_batch: PositiveInt
    max_waiting: PositiveInt
    timeout: PositiveFloat
