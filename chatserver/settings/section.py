"""The base of every section of the settings, and the types that a setting may have."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, urlsplit

Environment = Literal["dev", "production"]

PREFIX: Final = "CHAT_"

_POSITIVE: Final = "more than 0"
_HIDDEN: Final = "hidden"

PositiveInt = Annotated[int, _POSITIVE]
PositiveFloat = Annotated[float, _POSITIVE]
"""A number that must be more than 0; every other number may be 0, and none less."""

Secret = Annotated[str, _HIDDEN]
"""Text that is never printed, and that a file may hold: `CHAT_SECTION_KEY_FILE`."""


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of one section: its type is bool, int, float, str or a tuple of str."""

    section: str
    key: str
    kind: type
    is_positive: bool
    is_secret: bool

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The setting's name in the environment."""
        return f"{PREFIX}{self.section}_{self.key}".upper()

    def check(self, value: Any) -> None:
        """Raise SettingsError for a number that no setting, or not this one, may be."""
        if isinstance(value, int | float) and not 0 <= value < 2**53:
            raise SettingsError(f"{self.name} must not be negative or endless")
        if self.is_positive and not value:
            raise SettingsError(f"{self.name} must be more than 0")


class Section:
    """A section of the settings: a frozen dataclass of which each field is a setting.

    A subclass overrides `check` where its values must be more than of the right type.
    """

    __slots__ = ()

    def check(self, *, is_production: bool) -> None:
        """Refuse what would start and then fail, or start and be unsafe: SettingsError."""


def settings_of(section: str, kind: type[Section]) -> list[Setting]:
    """The settings of a section, in the order of its class."""
    hints = get_type_hints(kind, include_extras=True)
    return [_setting(section, key, hint) for key, hint in hints.items()]


def _setting(section: str, key: str, hint: Any) -> Setting:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    kind = get_args(hint)[0] if marks else hint
    return Setting(section, key, kind, _POSITIVE in marks, _HIDDEN in marks)


def split_url(url: str) -> SplitResult | None:
    """The parts of an http or https URL with a host; None for anything else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.netloc else None
