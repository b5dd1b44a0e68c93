"""[cors]: the origins of browsers and web views that may call."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from chatserver.settings.section import Section, SettingsError

NULL_ORIGIN: Final = "null"
"""Origin that browsers send where there is none: a sandboxed frame, a local file."""

# Old Android web views say this of local files, where others say `null`.
_LOCAL_FILES: Final = "file://"

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class CorsSettings(Section):
    origins: tuple[str, ...]

    def check(self, *, is_production: bool) -> None:
        for origin in self.origins:
            check_origin(origin)


def check_origin(origin: str) -> None:
    """Raise SettingsError for what no client could ever send as its Origin.

    Browsers send lower case, no path, no default port and no wildcard; the scheme may be
    any, since web views have their own (`capacitor://localhost`).
    """
    fault = None if origin in (NULL_ORIGIN, _LOCAL_FILES) else _fault(origin)
    if fault is not None:
        raise SettingsError(f"cors.origins: {origin!r} can never match: {fault}")


def _fault(origin: str) -> str | None:
    """The rule that the origin breaks; None where it breaks none."""
    parts = _ORIGIN.fullmatch(origin)
    if parts is not None:
        return _fault_of(parts["scheme"], parts["host"], parts["port"])
    if "*" in origin:
        return "there are no wildcards, write out each origin"
    if _ORIGIN.fullmatch(origin.lower()):
        return "browsers send it in lower case"
    return "it must look like https://host or https://host:8443, without a path"


def _fault_of(scheme: str, host: str, port: str | None) -> str | None:
    if scheme in ("ws", "wss"):
        return f"write http{scheme[2:]}://, which stands for {scheme}:// too"
    if port is not None and int(port) > _MAX_PORT:
        return f"there is no port {port}"
    if port == _DEFAULT_PORTS.get(scheme, ""):
        return f"browsers leave out the port {port} of {scheme}"
    if host.startswith("[") and not _is_canonical_ipv6(host[1:-1]):
        return "it is not the IPv6 address as browsers write it"
    return None


def _is_canonical_ipv6(text: str) -> bool:
    try:
        return str(IPv6Address(text)) == text
    except AddressValueError:
        return False
