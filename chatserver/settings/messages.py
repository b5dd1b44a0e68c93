"""[messages]: how long they may be, be edited, and where their media may lie."""

from dataclasses import dataclass

from chatserver.settings.section import PositiveInt, Section, SettingsError, split_url


@dataclass(frozen=True, slots=True)
class MessageSettings(Section):
    max_length: PositiveInt
    edit_window: float
    media_origins: tuple[str, ...]

    def check(self, *, is_production: bool) -> None:
        for prefix in self.media_origins:
            parts = split_url(prefix)
            if parts is None or not parts.path:
                raise SettingsError(
                    f"messages.media_origins: {prefix!r} must look like https://host/"
                )
