"""The settings of a node: a module for each section of `config/base.toml`.

`Settings.load` reads `base.toml`, the file of the environment, a file of one's own, and
then the variables `CHAT_<SECTION>_<KEY>`. Any mistake is a `SettingsError` of one line.

A setting is a field in its section's class and a line with a comment in `base.toml`; a
section is a module here with a `Section`, and a field of `Settings`.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, get_type_hints

from chatserver.settings.auth import AuthSettings
from chatserver.settings.cors import CorsSettings
from chatserver.settings.costs import CostSettings
from chatserver.settings.database import DatabaseSettings
from chatserver.settings.jwt import JwtSettings
from chatserver.settings.logging import LoggingSettings
from chatserver.settings.members import MemberSettings
from chatserver.settings.messages import MessageSettings
from chatserver.settings.presence import PresenceSettings
from chatserver.settings.rate_limit import RateLimitSettings
from chatserver.settings.realtime import RealtimeSettings
from chatserver.settings.redis import RedisSettings
from chatserver.settings.section import (
    Environment,
    Section,
    Setting,
    SettingsError,
    settings_of,
)
from chatserver.settings.server import BUILT_IN_PAGE, ServerSettings
from chatserver.settings.sources import (
    Given,
    config_directory,
    convert,
    read_environ,
    read_toml,
)
from chatserver.settings.writer import WriterSettings

__all__ = [
    "BUILT_IN_PAGE",
    "AuthSettings",
    "CorsSettings",
    "CostSettings",
    "DatabaseSettings",
    "Environment",
    "JwtSettings",
    "LoggingSettings",
    "MemberSettings",
    "MessageSettings",
    "PresenceSettings",
    "RateLimitSettings",
    "RealtimeSettings",
    "RedisSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "WriterSettings",
    "config_directory",
]

COMMAND_LINE: Final = "the command line"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it, checked. Build one with `load`; in tests, change one with `override`."""

    environment: Environment
    server: ServerSettings
    database: DatabaseSettings
    redis: RedisSettings
    jwt: JwtSettings
    auth: AuthSettings
    cors: CorsSettings
    members: MemberSettings
    messages: MessageSettings
    rate_limit: RateLimitSettings
    costs: CostSettings
    writer: WriterSettings
    realtime: RealtimeSettings
    presence: PresenceSettings
    logging: LoggingSettings

    @classmethod
    def load(
        cls,
        environment: Environment,
        environ: Mapping[str, str] | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        config_dir: Path | None = None,
        config_file: Path | None = None,
    ) -> Self:
        """Read the settings of `environment`.

        `environ` is `os.environ` unless given; `config_file` is read after the file of
        the environment; `overrides` (`"section.key"` to value) win over everything and
        are what the command line said. Raises SettingsError.
        """
        given = read_settings(
            environment,
            environ,
            overrides=overrides,
            config_dir=config_dir,
            config_file=config_file,
        )
        return cls.of(environment, given)

    @classmethod
    def of(cls, environment: Environment, given: Mapping[str, Given]) -> Self:
        """Put together and check what `read_settings` has found. Raises SettingsError."""
        values: dict[str, dict[str, Any]] = {name: {} for name in sections_by_name()}
        for setting in known_settings().values():
            if setting.name not in given:
                raise SettingsError(f"setting {setting.name} has no value")
            value = convert(setting, given[setting.name].value)
            values[setting.section][setting.key] = value
        sections: dict[str, Any] = {
            name: kind(**values[name]) for name, kind in sections_by_name().items()
        }
        settings = cls(environment=environment, **sections)
        settings.check()
        return settings

    def override(self, **values: Any) -> Self:
        """A copy with `section__key=value` for each argument, checked like the original."""
        changed: dict[str, Any] = {}
        for name, value in values.items():
            section, key = name.split("__")
            part = changed.get(section, getattr(self, section))
            changed[section] = dataclasses.replace(part, **{key: value})
        settings = dataclasses.replace(self, **changed)
        settings.check()
        return settings

    def check(self) -> None:
        """Refuse what would start and then fail, or start and be unsafe: SettingsError."""
        for setting in known_settings().values():
            setting.check(getattr(getattr(self, setting.section), setting.key))
        for name in sections_by_name():
            getattr(self, name).check(is_production=self.environment == "production")


@cache
def sections_by_name() -> Mapping[str, type[Section]]:
    """The class of each section."""
    return {name: kind for name, kind in get_type_hints(Settings).items() if name != "environment"}


@cache
def known_settings() -> Mapping[str, Setting]:
    """Every setting there is, by its name `section.key`."""
    return {
        setting.name: setting
        for section, kind in sections_by_name().items()
        for setting in settings_of(section, kind)
    }


def read_settings(
    environment: Environment,
    environ: Mapping[str, str] | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    config_dir: Path | None = None,
    config_file: Path | None = None,
) -> dict[str, Given]:
    """The value of each setting that has one, by its name, and where it is from.

    Arguments and errors as of `Settings.load`; values are neither converted nor checked.
    """
    folder, known = config_dir or config_directory(), known_settings()
    given = read_toml(folder / "base.toml", known)
    named = folder / f"{environment}.toml"
    if named.exists():
        given |= read_toml(named, known)
    if config_file is not None:
        given |= read_toml(config_file, known)
    given |= read_environ(os.environ if environ is None else environ, known)
    return given | {name: Given(value, COMMAND_LINE) for name, value in (overrides or {}).items()}
