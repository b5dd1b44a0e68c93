"""Where settings come from: TOML files and the environment, as typed values."""

import dataclasses
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin, get_type_hints

PREFIX = "CHAT_"

Sections = Mapping[str, type]
"""The dataclass of each section, by its name."""

Values = dict[str, dict[str, Any]]
"""A value for each key of each section."""


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the message names it."""


def config_directory() -> Path:
    """The folder of the TOML files: in a checkout at its top, else inside the package."""
    package = Path(__file__).parent
    inside = package / "_data" / "config"
    return inside if inside.exists() else package.parent / "config"


def read_toml(path: Path, known: Sections, into: Values) -> Values:
    """`into` with the values of a file. Raises SettingsError for a name that is not `known`."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    for section, values in data.items():
        if section not in known or not isinstance(values, dict):
            raise SettingsError(f"unknown setting [{section}] in {path}")
        names = {field.name for field in dataclasses.fields(known[section])}
        for key, value in values.items():
            if key not in names:
                raise SettingsError(f"unknown setting {section}.{key} in {path}")
            into.setdefault(section, {})[key] = value
    return into


def apply_environ(values: Values, known: Sections, environ: Mapping[str, str]) -> None:
    """Put the variables that begin with PREFIX over `values`, as text."""
    names = {
        f"{PREFIX}{section}_{field.name}".upper(): (section, field.name)
        for section, kind in known.items()
        for field in dataclasses.fields(kind)
    }
    for name, text in environ.items():
        if not name.startswith(PREFIX):
            continue
        if name not in names:
            raise SettingsError(f"unknown setting {name} in the environment")
        section, key = names[name]
        values.setdefault(section, {})[key] = text


def build(kind: type, section: str, values: Mapping[str, Any]) -> Any:
    """The dataclass of a section, its values converted to the types of its fields."""
    hints = get_type_hints(kind)
    missing = hints.keys() - values.keys()
    if missing:
        raise SettingsError(f"setting {section}.{min(missing)} has no value")
    return kind(
        **{key: _convert(f"{section}.{key}", values[key], hint) for key, hint in hints.items()}
    )


_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def _convert(name: str, value: Any, hint: Any) -> Any:
    """`value` (from TOML, or text from the environment) as the type that the setting has."""
    if get_origin(hint) is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise SettingsError(f"{name} must be a list of strings, not {value!r}")
    convert = types.MappingProxyType({bool: _to_bool, int: _to_int, float: _to_float, str: _to_str})
    try:
        return convert[hint](value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be a {hint.__name__}, not {value!r}") from None


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
