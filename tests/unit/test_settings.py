"""Settings: every default documented, every mistake one clear line."""

import dataclasses
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from chatserver.app import PRESENCE_TICK
from chatserver.serving import LINGERING, RESERVE
from chatserver.settings import Environment, Settings, SettingsError, config_directory

URL = "postgresql://user:hunter2@localhost/chat"
SECRET = "6vh2xq9nk4wz7bm1rt8jc5gd0yp3slfu"
MINIMUM = {"CHAT_DATABASE_URL": URL, "CHAT_JWT_SECRET": SECRET}
SECTIONS = {name: kind for name, kind in get_type_hints(Settings).items() if name != "environment"}


def load(environment: Environment = "production", /, **environ: str) -> Settings:
    return Settings.load(environment, {**MINIMUM, **environ})


def refusal(environment: Environment = "production", /, **environ: str) -> str:
    """What the start says; always one line that holds no secret."""
    with pytest.raises(SettingsError) as caught:
        load(environment, **environ)
    return one_line(caught.value)


def one_line(error: SettingsError) -> str:
    message = str(error)
    assert message
    assert "\n" not in message
    assert "hunter2" not in message
    assert SECRET not in message
    return message


def files(tmp_path: Path, **texts: str) -> Path:
    """A folder with our own base.toml, and what `texts` adds to it or puts beside it."""
    base = (config_directory() / "base.toml").read_text("utf-8")
    (tmp_path / "base.toml").write_text(texts.pop("base", base), "utf-8")
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    return tmp_path


# The files


def test_base_toml_has_each_setting_and_nothing_else() -> None:
    base = tomllib.loads((config_directory() / "base.toml").read_text("utf-8"))
    fields = {
        section: {field.name for field in dataclasses.fields(kind)}
        for section, kind in SECTIONS.items()
    }
    assert {section: set(values) for section, values in base.items()} == fields


def test_each_setting_is_explained() -> None:
    """By a comment above it, or above the group of lines that it is in."""
    lines = (config_directory() / "base.toml").read_text("utf-8").splitlines()
    clear = {"host", "level"}
    for before, line in pairwise(lines):
        key, is_setting, _ = line.partition(" = ")
        if is_setting and not line.startswith("#") and key not in clear:
            assert before.startswith("#") or " = " in before, line


@pytest.mark.parametrize("path", sorted(config_directory().glob("*.toml")), ids=lambda p: p.name)
def test_each_file_loads(path: Path) -> None:
    environment: Environment = "dev" if path.stem == "dev" else "production"
    assert load(environment).environment == environment


def test_the_file_of_the_environment_wins_over_the_base() -> None:
    assert load("dev").server.host == "127.0.0.1"
    assert load("dev").logging.format == "console"
    assert load("production").server.host == "0.0.0.0"


def test_an_environment_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    settings = Settings.load("production", MINIMUM, config_dir=files(tmp_path))
    assert settings.server.drain_delay == 0


def test_what_the_documents_promise_is_the_default() -> None:
    settings = load()
    assert settings.server.port == 8080
    assert settings.messages.max_length == 5000
    assert settings.messages.edit_window == 15 * 60
    assert settings.rate_limit.messages == "60/minute"
    assert settings.rate_limit.user == "1200/minute"
    assert settings.rate_limit.address == "300/15 seconds"
    assert settings.jwt.leeway == 30
    assert not settings.auth.query_token
    assert settings.auth.user_cache_ttl == 5
    assert settings.rate_limit.conversations == "60/hour"
    assert settings.jwt.max_lifetime == 30 * 24 * 60 * 60
    assert settings.realtime.max_queue_bytes == 2**20
    assert settings.realtime.connect_timeout == 10
    assert settings.server.request_timeout + LINGERING < 10


def test_a_node_ends_within_fifteen_seconds_of_sigterm() -> None:
    server = load("production").server
    assert server.drain_delay == 2
    assert server.drain_spread == 3
    assert server.drain_delay + server.shutdown_grace + RESERVE < 15


def test_a_user_whose_network_falls_silent_is_offline_within_45_seconds() -> None:
    settings = load()
    heartbeat = settings.realtime.ping_interval + settings.realtime.ping_timeout
    assert heartbeat + settings.presence.offline_grace + PRESENCE_TICK < 45


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[nothing]\nx = 1", "unknown setting [nothing]"),
        ("[server]\ntypo = 1", "unknown setting server.typo"),
        ("server = 1", "unknown setting [server]"),
        ("[server\n", "cannot read"),
        ('[server]\nport = "80a"', "server.port must be a int"),
        ("[server]\nport = 80.5", "server.port must be a int"),
        ("[server]\nport = true", "server.port must be a int"),
        ("[server]\nserve_docs = 1", "server.serve_docs must be a bool"),
        ("[jwt]\nleeway = true", "jwt.leeway must be a float"),
        ("[jwt]\nissuer = 1", "jwt.issuer must be a str"),
        ("[cors]\norigins = [1]", "cors.origins must be a list of strings"),
        ("[cors]\norigins = 1", "cors.origins must be a list of strings"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load("production", MINIMUM, config_dir=files(tmp_path, production=text))
    assert message in one_line(caught.value)


def test_files_that_are_not_there_or_unreadable_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Settings.load("production", MINIMUM, config_dir=tmp_path / "nowhere")
    folder = files(tmp_path)
    (folder / "production.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError) as caught:
        Settings.load("production", MINIMUM, config_dir=folder)
    assert "production.toml" in one_line(caught.value)


def test_a_setting_without_a_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^setting server\.\w+ has no value$"):
        Settings.load("production", MINIMUM, config_dir=files(tmp_path, base=""))


# The environment


def test_each_setting_has_a_name_in_the_environment() -> None:
    settings = load(
        CHAT_SERVER_PORT="81",
        CHAT_SERVER_SERVE_DOCS="off",
        CHAT_RATE_LIMIT_MESSAGES="",
        CHAT_CORS_ORIGINS=" https://a.example , http://localhost:3000,",
        CHAT_JWT_LEEWAY="2.5",
        CHAT_AUTH_QUERY_TOKEN="YES",
        OTHER="ignored",
        CHATTER="ignored",
    )
    assert (settings.server.port, settings.server.serve_docs) == (81, False)
    assert settings.rate_limit.messages == ""
    assert settings.cors.origins == ("https://a.example", "http://localhost:3000")
    assert settings.jwt.leeway == 2.5
    assert settings.auth.query_token


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CHAT_SERVER_PROT", "1", "unknown setting CHAT_SERVER_PROT in the environment"),
        ("CHAT_DATABASEURL", "x", "unknown setting CHAT_DATABASEURL in the environment"),
        ("CHAT_SERVER_PORT", "eighty", "server.port must be a int"),
        ("CHAT_SERVER_PORT", "", "server.port must be a int"),
        ("CHAT_JWT_LEEWAY", "long", "jwt.leeway must be a float"),
        ("CHAT_SERVER_SERVE_DOCS", "perhaps", "server.serve_docs must be a bool"),
    ],
)
def test_a_mistake_in_the_environment_is_named(name: str, value: str, message: str) -> None:
    assert message in refusal(**{name: value})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CHAT_DATABASE_URL", URL),
        ("CHAT_REDIS_URL", "redis://:hunter2@localhost"),
        ("CHAT_JWT_SECRET", SECRET),
    ],
)
def test_a_secret_may_be_in_a_file(tmp_path: Path, variable: str, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{text}\n", "utf-8")
    environ = {name: value for name, value in MINIMUM.items() if name != variable}
    settings = Settings.load("production", {**environ, f"{variable}_FILE": str(path)})
    section, _, key = variable.removeprefix("CHAT_").lower().partition("_")
    assert getattr(getattr(settings, section), key) == text


def test_a_file_with_a_secret_that_is_of_no_use_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET, "utf-8")
    both = refusal(CHAT_JWT_SECRET_FILE=str(secret))
    assert both == "both CHAT_JWT_SECRET and CHAT_JWT_SECRET_FILE are set"

    def refused(path: Path) -> str:
        environ = {"CHAT_DATABASE_URL": URL, "CHAT_JWT_SECRET_FILE": str(path)}
        with pytest.raises(SettingsError) as caught:
            Settings.load("production", environ)
        return one_line(caught.value)

    missing = tmp_path / "missing"
    assert refused(missing) == (
        f"CHAT_JWT_SECRET_FILE: cannot read {str(missing)!r}: No such file or directory"
    )
    secret.write_bytes(b"\xff")
    assert refused(secret).endswith(f"cannot read {str(secret)!r}: it is not UTF-8")
    secret.write_text("short", "utf-8")
    assert refused(secret) == "CHAT_JWT_SECRET is shorter than 32 bytes"


def test_what_is_no_secret_is_in_no_file() -> None:
    message = "unknown setting CHAT_SERVER_HOST_FILE in the environment"
    assert refusal(CHAT_SERVER_HOST_FILE="host") == message


def test_a_file_of_ones_own_comes_between_the_servers_files_and_the_environment(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text("[server]\nport = 84\ndrain_delay = 7.0\nhost = 'h'\n", "utf-8")
    environ = {**MINIMUM, "CHAT_SERVER_PORT": "81"}
    server = Settings.load("production", environ, config_file=path).server
    assert (server.host, server.port, server.drain_delay) == ("h", 81, 7.0)
    path.write_text("[server]\nprot = 84\n", "utf-8")
    with pytest.raises(SettingsError, match=r"unknown setting server\.prot in .*ours\.toml"):
        Settings.load("production", environ, config_file=path)


def test_the_command_line_wins_over_the_environment() -> None:
    environ = {**MINIMUM, "CHAT_SERVER_PORT": "81"}
    settings = Settings.load("production", environ, overrides={"server.port": 82})
    assert settings.server.port == 82


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MINIMUM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHAT_SERVER_PORT", "83")
    assert Settings.load("production").server.port == 83


# The rules


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CHAT_DATABASE_URL", "", "CHAT_DATABASE_URL is not set"),
        ("CHAT_DATABASE_URL", "mysql://h/n", "must begin with postgresql://"),
        ("CHAT_DATABASE_URL", "sqlite:///x", "must begin with postgresql://"),
        ("CHAT_DATABASE_URL", "postgresql://u:hunter2@h:port/n", "must look like"),
        ("CHAT_DATABASE_URL", "postgresql:h/n", "must look like"),
        ("CHAT_JWT_SECRET", "", "neither CHAT_JWT_SECRET nor CHAT_JWT_JWKS_URL is set"),
        ("CHAT_JWT_SECRET", "short", "shorter than 32 bytes"),
        ("CHAT_JWT_SECRET", "ñ" * 15, "shorter than 32 bytes"),
        ("CHAT_JWT_SECRET", "x" * 64, "could be guessed"),
        ("CHAT_JWT_SECRET", "development-secret-never-for-production", "could be guessed"),
        ("CHAT_JWT_JWKS_URL", "keys.json", "must look like https://host/path"),
        ("CHAT_JWT_JWKS_URL", "file:///etc/passwd", "must look like https://host/path"),
        ("CHAT_JWT_JWKS_URL", "https://host/keys", "CHAT_JWT_AUDIENCE is not set"),
        ("CHAT_JWT_JWKS_URL", "https://[", "must look like https://host/path"),
        ("CHAT_RATE_LIMIT_MESSAGES", "60", "must look like 60/minute"),
        ("CHAT_RATE_LIMIT_MESSAGES", "0/minute", "must look like 60/minute"),
        ("CHAT_RATE_LIMIT_MESSAGES", "60/minute\n", "must look like 60/minute"),
        ("CHAT_RATE_LIMIT_MESSAGES", "-1/minute", "must look like 60/minute"),
        ("CHAT_RATE_LIMIT_MESSAGES", "60/year", "must look like 60/minute"),
        ("CHAT_RATE_LIMIT_USER", "60/15seconds", "rate_limit.user must look like 60/minute"),
        ("CHAT_RATE_LIMIT_USER", "60", "rate_limit.user must look like 60/minute"),
        ("CHAT_RATE_LIMIT_ADDRESS", "60", "rate_limit.address must look like 60/minute"),
        ("CHAT_COSTS_SYNC", "-1", "costs.sync must not be negative"),
        ("CHAT_RATE_LIMIT_CONVERSATIONS", "60/year", "must look like 60/minute"),
        ("CHAT_LOGGING_LEVEL", "loud", "logging.level must be one of"),
        ("CHAT_LOGGING_FORMAT", "xml", "logging.format must be json or console"),
        ("CHAT_CORS_ORIGINS", "*", "can never match: there are no wildcards"),
        ("CHAT_CORS_ORIGINS", "https://*.example", "can never match: there are no wildcards"),
        ("CHAT_CORS_ORIGINS", "https://", "can never match: it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "a.example", "can never match: it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "https://a.example/", "without a path"),
        ("CHAT_CORS_ORIGINS", "https://a.example/path", "without a path"),
        ("CHAT_CORS_ORIGINS", "https://u@a.example", "it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "https://a.example.", "it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "https://bücher.example", "it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "https://[", "it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "https://A.example", "browsers send it in lower case"),
        ("CHAT_CORS_ORIGINS", "Null", "it must look like https://host"),
        ("CHAT_CORS_ORIGINS", "wss://a.example", "write https://, which stands for wss:// too"),
        ("CHAT_CORS_ORIGINS", "https://a.example:443", "browsers leave out the port 443"),
        ("CHAT_CORS_ORIGINS", "http://a.example:80", "browsers leave out the port 80"),
        ("CHAT_CORS_ORIGINS", "https://a.example:65536", "there is no port 65536"),
        ("CHAT_CORS_ORIGINS", "https://[::0:1]", "it is not the IPv6 address as browsers"),
        ("CHAT_MESSAGES_MEDIA_ORIGINS", "https://a.example", "must look like https://host/"),
        ("CHAT_MESSAGES_MEDIA_ORIGINS", "//a.example/", "must look like https://host/"),
        ("CHAT_SERVER_TRUSTED_PROXIES", "proxy", "is no address or network"),
        ("CHAT_SERVER_TRUSTED_PROXIES", "10.0.0.1/8", "is no address or network"),
        ("CHAT_SERVER_PORT", "65536", "server.port must not be more than 65535"),
        ("CHAT_SERVER_PORT", "-1", "server.port must not be negative"),
        ("CHAT_WRITER_TIMEOUT", "nan", "writer.timeout must not be negative or endless"),
        ("CHAT_WRITER_TIMEOUT", "inf", "writer.timeout must not be negative or endless"),
        ("CHAT_PRESENCE_OFFLINE_GRACE", "-0.1", "must not be negative"),
    ],
)
def test_what_would_start_and_then_fail_or_be_unsafe_is_refused(
    name: str, value: str, message: str
) -> None:
    assert message in refusal(**{name: value})


@pytest.mark.parametrize(
    "name",
    [
        *("server.max_body_bytes", "server.request_timeout", "messages.max_length"),
        *("database.pool_size", "database.pool_timeout", "database.statement_timeout"),
        *("writer.max_batch", "writer.max_waiting", "writer.timeout", "presence.lease_ttl"),
        *("realtime.ping_interval", "realtime.ping_timeout", "realtime.connect_timeout"),
        *("realtime.max_packet_bytes", "realtime.max_queue_bytes", "realtime.handler_timeout"),
        "realtime.max_pending_events",
    ],
)
def test_what_cannot_work_without_is_more_than_nothing(name: str) -> None:
    variable = f"CHAT_{name.replace('.', '_')}".upper()
    assert refusal(**{variable: "0"}) == f"{name} must be more than 0"


@pytest.mark.parametrize(
    "name",
    [
        *("CHAT_SERVER_PORT", "CHAT_SERVER_DRAIN_DELAY", "CHAT_JWT_LEEWAY"),
        "CHAT_JWT_MAX_LIFETIME",
        *("CHAT_MESSAGES_EDIT_WINDOW", "CHAT_AUTH_USER_CACHE_TTL"),
        *("CHAT_REALTIME_MAX_SOCKETS_PER_USER", "CHAT_PRESENCE_OFFLINE_GRACE"),
    ],
)
def test_where_nothing_means_something_it_is_allowed(name: str) -> None:
    load(**{name: "0"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAT_DATABASE_URL", "postgres://u:p%40@[::1]:5432/n?sslmode=require"),
        ("CHAT_DATABASE_URL", "postgresql+asyncpg://postgres@/n?host=/tmp/x"),
        ("CHAT_JWT_JWKS_URL", "http://localhost:9000/keys"),
        ("CHAT_RATE_LIMIT_MESSAGES", "5/second"),
        ("CHAT_RATE_LIMIT_USER", ""),
        ("CHAT_RATE_LIMIT_ADDRESS", "600/hour"),
        ("CHAT_COSTS_TYPING", "0"),
        ("CHAT_CORS_ORIGINS", "https://a.example:8443"),
        ("CHAT_MESSAGES_MEDIA_ORIGINS", "https://a.example/media/"),
        ("CHAT_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, ::1, 192.168.1.4"),
        ("CHAT_LOGGING_LEVEL", "debug"),
    ],
)
def test_what_is_right_is_taken(name: str, value: str) -> None:
    load(**{name: value, "CHAT_JWT_AUDIENCE": "chat"})


def test_a_jwks_url_is_enough_and_dev_may_have_the_known_secret() -> None:
    environ = {"CHAT_DATABASE_URL": URL, "CHAT_JWT_JWKS_URL": "https://host/keys"}
    assert Settings.load("dev", environ).jwt.audience == ""
    environ["CHAT_JWT_AUDIENCE"] = "chat"
    assert Settings.load("production", environ).jwt.secret == ""
    assert Settings.load("dev", {"CHAT_DATABASE_URL": URL}).jwt.secret.startswith("development")
    assert load("dev", CHAT_JWT_SECRET="x").jwt.secret == "x"


def test_a_copy_is_changed_and_checked_like_the_original() -> None:
    settings = load()
    changed = settings.override(server__port=9, server__host="h", jwt__leeway=1.0)
    assert (changed.server.port, changed.server.host, changed.jwt.leeway) == (9, "h", 1.0)
    assert settings.server.port == 8080
    with pytest.raises(SettingsError):
        settings.override(server__port=-1)


def test_nobody_changes_settings() -> None:
    settings: Any = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.server.port = 1


def test_the_heartbeat_lets_phones_sleep_and_stall() -> None:
    realtime = load().realtime
    assert realtime.ping_interval >= 20
    assert realtime.ping_timeout >= 15
