"""Sources of settings: TOML files, the environment and files that hold a secret."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_origin

from chatserver.settings.section import PREFIX, Setting, SettingsError

FILE_SUFFIX: Final = "_FILE"
"""Ends the name of a variable that says in which file the value of a secret is."""

Known = Mapping[str, Setting]
"""Every setting that there is, by its name, `section.key`."""


@dataclass(frozen=True, slots=True)
class Given:
    """The value of a setting as it was written, and where: a file's name or a variable's."""

    value: Any
    source: str


def config_directory() -> Path:
    """The folder of the TOML files: in a checkout at its top, else inside the package."""
    package = Path(__file__).parent.parent
    inside = package / "_data" / "config"
    return inside if inside.exists() else package.parent / "config"


def read_toml(path: Path, known: Known) -> dict[str, Given]:
    """The values of a file. Raises SettingsError for a name that is not `known`."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    sections = {setting.section for setting in known.values()}
    found: dict[str, Given] = {}
    for section, values in data.items():
        if section not in sections or not isinstance(values, dict):
            raise SettingsError(f"unknown setting [{section}] in {path}")
        for key, value in values.items():
            if f"{section}.{key}" not in known:
                raise SettingsError(f"unknown setting {section}.{key} in {path}")
            found[f"{section}.{key}"] = Given(value, path.name)
    return found


def read_environ(environ: Mapping[str, str], known: Known) -> dict[str, Given]:
    """The values of the variables that begin with PREFIX, as text.

    Raises SettingsError for a name that is not `known`, for a secret that is given both by
    itself and in a file, and for a file that cannot be read.
    """
    names = {setting.variable: setting.name for setting in known.values()}
    files = {
        setting.variable + FILE_SUFFIX: setting for setting in known.values() if setting.is_secret
    }
    found: dict[str, Given] = {}
    for variable, text in environ.items():
        if variable in names:
            found[names[variable]] = Given(text, variable)
        elif variable in files:
            setting = files[variable]
            if setting.variable in environ:
                raise SettingsError(f"both {setting.variable} and {variable} are set")
            found[setting.name] = Given(_read_secret(variable, Path(text)), variable)
        elif variable.startswith(PREFIX):
            raise SettingsError(f"unknown setting {variable} in the environment")
    return found


def _read_secret(variable: str, path: Path) -> str:
    """Read the file, without the line's end that editors put behind it."""
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{variable}: cannot read {str(path)!r}: {why}") from None


_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def convert(setting: Setting, value: Any) -> Any:
    """`value` (from TOML, or text from the environment) as the type that the setting has."""
    name, kind = setting.name, setting.kind
    if get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise SettingsError(f"{name} must be a list of strings, not {value!r}")
    try:
        return _CONVERT[kind](value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be a {kind.__name__}, not {value!r}") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise ValueError(value)


def _to_int(value: Any) -> int:
    if isinstance(value, bool | float):
        raise TypeError(value)
    return int(value)


def _to_float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_CONVERT: Final[Mapping[type, Callable[[Any], Any]]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
}
