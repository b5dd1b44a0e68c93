"""[logging]: of what there is a record, and in which form."""

from dataclasses import dataclass

from chatserver.settings.section import Section, SettingsError

_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class LoggingSettings(Section):
    level: str
    format: str
    messages: float

    def check(self, *, is_production: bool) -> None:
        if self.level not in _LEVELS:
            raise SettingsError(f"logging.level must be one of {', '.join(_LEVELS)}")
        if self.format not in ("json", "console"):
            raise SettingsError("logging.format must be json or console")
        if self.messages > 1:
            raise SettingsError("logging.messages must be from 0 to 1")
