"""The settings of a node: what there is, and what is refused.

`Settings.load` reads `base.toml`, the file of the environment, and then the
variables `CHAT_<SECTION>_<KEY>`. Any mistake is a `SettingsError` of one line.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from chatserver.auth.secret_strength import is_guessable
from chatserver.costs import CostSettings
from chatserver.setting_formats import check_origin
from chatserver.setting_sources import (
    SettingsError,
    apply_environ,
    build,
    config_directory,
    read_toml,
)

Environment = Literal["dev", "production"]

MIN_SECRET_BYTES = 32
BUILT_IN_PAGE = "built-in"
"""As `server.web_root`: the chat page that comes with the server."""

_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day|[1-9]\d{0,3} (second|minute|hour|day)s)")
MAX_PORT = 65535
_POSITIVE = (
    "server.max_body_bytes",
    "server.request_timeout",
    "server.write_timeout",
    "server.max_connections",
    "database.pool_size",
    "database.pool_timeout",
    "database.statement_timeout",
    "messages.max_length",
    "writer.max_batch",
    "writer.max_waiting",
    "writer.timeout",
    "realtime.ping_interval",
    "realtime.ping_timeout",
    "realtime.connect_timeout",
    "realtime.max_packet_bytes",
    "realtime.max_queue_bytes",
    "jwt.jwks_refresh_interval",
    "realtime.max_pending_events",
    "realtime.handler_timeout",
    "presence.lease_ttl",
)
_REDIS_SCHEMES = tuple(
    f"redis{tls}{kind}://" for tls in ("", "s") for kind in ("", "+sentinel", "+cluster")
)
_REDIS_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,32}")
_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str
    port: int
    internal_host: str
    internal_port: int
    public_metrics: bool
    trusted_proxies: tuple[str, ...]
    max_body_bytes: int
    request_timeout: float
    write_timeout: float
    max_connections: int
    max_connections_per_address: int
    shutdown_grace: float
    drain_delay: float
    drain_spread: float
    serve_docs: bool
    web_root: str


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    url: str
    pool_size: int
    pool_timeout: float
    statement_timeout: float


@dataclass(frozen=True, slots=True)
class RedisSettings:
    url: str
    prefix: str
    external_emitters: bool


@dataclass(frozen=True, slots=True)
class JwtSettings:
    secret: str
    jwks_url: str
    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    leeway: float
    max_lifetime: float
    jwks_refresh_interval: float
    jwks_overlap: float


@dataclass(frozen=True, slots=True)
class AuthSettings:
    query_token: bool
    raw_query_token: bool
    user_cache_ttl: float


@dataclass(frozen=True, slots=True)
class CorsSettings:
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageSettings:
    max_length: int
    edit_window: float
    media_origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    messages: str
    conversations: str
    user: str
    address: str


@dataclass(frozen=True, slots=True)
class WriterSettings:
    max_batch: int
    max_waiting: int
    timeout: float


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    ping_interval: float
    ping_timeout: float
    connect_timeout: float
    max_packet_bytes: int
    max_queue_bytes: int
    max_pending_events: int
    handler_timeout: float
    max_sockets_per_user: int
    max_sockets_per_address: int


@dataclass(frozen=True, slots=True)
class PresenceSettings:
    lease_ttl: float
    offline_grace: float


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    level: str
    format: str
    messages: float


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
    ) -> Self:
        """Read the settings of `environment`.

        `environ` is `os.environ` unless given; `overrides` (`"section.key"` to
        value) win over everything and are what the command line said. Raises
        SettingsError.
        """
        folder, known = config_dir or config_directory(), _sections()
        values = read_toml(folder / "base.toml", known, {})
        named = folder / f"{environment}.toml"
        if named.exists():
            values = read_toml(named, known, values)
        apply_environ(values, known, os.environ if environ is None else environ)
        for name, value in (overrides or {}).items():
            section, key = name.split(".")
            values.setdefault(section, {})[key] = value
        settings = cls(
            environment=environment,
            **{name: build(kind, name, values.get(name, {})) for name, kind in known.items()},
        )
        _check(settings)
        return settings

    def override(self, **values: Any) -> Self:
        """A copy with `section__key=value` for each argument, checked like the original."""
        changed: dict[str, Any] = {}
        for name, value in values.items():
            section, key = name.split("__")
            part = changed.get(section, getattr(self, section))
            changed[section] = dataclasses.replace(part, **{key: value})
        settings = dataclasses.replace(self, **changed)
        _check(settings)
        return settings


def _sections() -> dict[str, type]:
    return {name: kind for name, kind in get_type_hints(Settings).items() if name != "environment"}


def _check(settings: Settings) -> None:
    """Refuse what would start and then fail, or start and be unsafe."""
    _check_database(settings.database)
    _check_jwt(settings.jwt, settings.environment)
    _check_formats(settings)
    _check_redis(settings.redis)
    for section in _sections():
        for key, value in dataclasses.asdict(getattr(settings, section)).items():
            if isinstance(value, int | float) and not 0 <= value < 2**53:
                raise SettingsError(f"{section}.{key} must not be negative or endless")
    for name in _POSITIVE:
        section, key = name.split(".")
        if not getattr(getattr(settings, section), key):
            raise SettingsError(f"{name} must be more than 0")
    for name, port in (
        ("server.port", settings.server.port),
        ("server.internal_port", settings.server.internal_port),
    ):
        if port > MAX_PORT:
            raise SettingsError(f"{name} must not be more than {MAX_PORT}")


def _check_database(database: DatabaseSettings) -> None:
    if not database.url:
        raise SettingsError("CHAT_DATABASE_URL is not set: the server needs a PostgreSQL database")
    scheme = database.url.partition(":")[0]
    if scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
        raise SettingsError("CHAT_DATABASE_URL must begin with postgresql://")
    try:
        make_url(database.url)
    except (ValueError, ArgumentError):
        raise SettingsError(
            "CHAT_DATABASE_URL must look like postgresql://user:password@host:port/name"
        ) from None


def _check_redis(redis: RedisSettings) -> None:
    if redis.url and not redis.url.startswith(_REDIS_SCHEMES):
        raise SettingsError(
            "CHAT_REDIS_URL must begin with redis://, rediss://, redis+sentinel:// "
            "or redis+cluster://"
        )
    if not _REDIS_PREFIX.fullmatch(redis.prefix):
        raise SettingsError("redis.prefix must be made of letters, digits, '.', '_' and '-'")


def _check_jwt(jwt: JwtSettings, environment: Environment) -> None:
    if not jwt.secret and not jwt.jwks_url:
        raise SettingsError(
            "neither CHAT_JWT_SECRET nor CHAT_JWT_JWKS_URL is set: no token could be verified"
        )
    if jwt.jwks_url and _split(jwt.jwks_url) is None:
        raise SettingsError("CHAT_JWT_JWKS_URL must look like https://host/path")
    if environment == "dev":
        return
    if jwt.secret and len(jwt.secret.encode()) < MIN_SECRET_BYTES:
        raise SettingsError(f"CHAT_JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes")
    if jwt.secret and is_guessable(jwt.secret):
        raise SettingsError(
            "CHAT_JWT_SECRET could be guessed: have one made with `openssl rand -hex 32`"
        )
    if jwt.jwks_url and not jwt.audience:
        raise SettingsError(
            "CHAT_JWT_AUDIENCE is not set: with CHAT_JWT_JWKS_URL, a token that was issued "
            "for another service would be taken"
        )


def _check_formats(settings: Settings) -> None:
    root = settings.server.web_root
    if root not in ("", BUILT_IN_PAGE) and not (Path(root) / "index.html").is_file():
        raise SettingsError(f"server.web_root: there is no index.html in {root!r}")
    for key, limit in dataclasses.asdict(settings.rate_limit).items():
        if limit and not _RATE.fullmatch(limit):
            raise SettingsError(f"rate_limit.{key} must look like 60/minute, or be empty")
    if settings.logging.level not in _LEVELS:
        raise SettingsError(f"logging.level must be one of {', '.join(_LEVELS)}")
    if settings.logging.format not in ("json", "console"):
        raise SettingsError("logging.format must be json or console")
    if settings.logging.messages > 1:
        raise SettingsError("logging.messages must be from 0 to 1")
    for origin in settings.cors.origins:
        check_origin(origin)
    for prefix in settings.messages.media_origins:
        parts = _split(prefix)
        if parts is None or not parts.path:
            raise SettingsError(f"messages.media_origins: {prefix!r} must look like https://host/")
    for network in settings.server.trusted_proxies:
        try:
            ip_network(network)
        except ValueError:
            raise SettingsError(
                f"server.trusted_proxies: {network!r} is no address or network"
            ) from None


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https URL with a host; None for anything else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.netloc else None
