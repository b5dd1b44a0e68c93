"""[server]: the two ports, what a connection may take, and the chat page."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from chatserver.settings.section import PositiveFloat, PositiveInt, Section, SettingsError

MAX_PORT: Final = 65535
BUILT_IN_PAGE: Final = "built-in"
"""Value of `server.web_root` for the chat page that comes with the server."""


@dataclass(frozen=True, slots=True)
class ServerSettings(Section):
    host: str
    port: int
    internal_host: str
    internal_port: int
    public_metrics: bool
    trusted_proxies: tuple[str, ...]
    max_body_bytes: PositiveInt
    request_timeout: PositiveFloat
    write_timeout: PositiveFloat
    max_connections: PositiveInt
    max_connections_per_address: int
    shutdown_grace: float
    drain_delay: float
    drain_spread: float
    serve_docs: bool
    web_root: str

    def check(self, *, is_production: bool) -> None:
        for key, port in (("port", self.port), ("internal_port", self.internal_port)):
            if port > MAX_PORT:
                raise SettingsError(f"server.{key} must not be more than {MAX_PORT}")
        root = self.web_root
        if root not in ("", BUILT_IN_PAGE) and not (Path(root) / "index.html").is_file():
            raise SettingsError(f"server.web_root: there is no index.html in {root!r}")
        for network in self.trusted_proxies:
            try:
                ip_network(network)
            except ValueError:
                raise SettingsError(
                    f"server.trusted_proxies: {network!r} is no address or network"
                ) from None
