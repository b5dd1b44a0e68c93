"""Logs: one line for each record, whatever is in it, and never a token."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from chatserver.settings import LoggingSettings
from chatserver.telemetry import logs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs._QUIET}
    yield
    root.handlers, root.level = handlers, level
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def read(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The records so far: each a line, and each line a record."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail(text: str) -> None:
    raise ValueError(text)


def configure(level: str = "info", form: str = "json") -> None:
    logs.configure(LoggingSettings(level, form, messages=1.0))


def test_ours_and_libraries_records_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.get_logger("chatserver.x").info("sent", seq=3)
    logging.getLogger("library").warning("slow: %s", "disk", extra={"seq": 4})
    ours, theirs = read(capsys)
    assert (ours["event"], ours["level"], ours["logger"], ours["seq"]) == (
        "sent", "info", "chatserver.x", 3,
    )  # fmt: skip
    assert (theirs["event"], theirs["level"], theirs["logger"], theirs["seq"]) == (
        "slow: disk", "warning", "library", 4,
    )  # fmt: skip
    assert ours["timestamp"].endswith("Z")
    assert theirs["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "hostile",
    [
        'a\nb\r\n{"event": "forged"}',
        "\x1b[2J\x1b]0;title\x07",
        "\u2028\u2029\x85\x9b31m\x7f",
        "surrogate \udcff",
        '"\\',
        "ñ 🏠",
    ],
)
def test_newlines_and_control_sequences_stay_inside_one_record(
    capsys: pytest.CaptureFixture[str], hostile: str
) -> None:
    configure()
    structlog.get_logger().info("connected", agent=hostile, names=[hostile])
    logging.getLogger("library").info("agent %s", hostile)
    output = capsys.readouterr().err
    assert len(output.splitlines()) == output.count("\n") == 2
    assert not set(output) & set("\x1b\x07\x7f\x85\x9b\r\u2028\u2029")
    first, second = map(json.loads, output.splitlines())
    assert (first["agent"], first["names"]) == (hostile, [hostile])
    assert second["event"] == f"agent {hostile}"


def test_an_exception_is_one_record_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    for log in (structlog.get_logger("ours").exception, logging.getLogger("theirs").exception):
        try:
            fail("first line\nsecond line")
        except ValueError:
            log("failed")
    for record in read(capsys):
        assert record["event"] == "failed"
        assert record["level"] == "error"
        assert "Traceback" in record["exception"]
        assert "second line" in record["exception"]


def test_values_that_json_does_not_know_do_not_lose_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    structlog.get_logger().info(
        "odd", big=2**80, keys={1: 2, (3, 4): 5}, thing=object(), raw=b"\xff", none=None
    )
    (record,) = read(capsys)
    assert record["event"] == "odd"
    assert record["big"] == 2**80


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"GET /socket.io/?EIO=4&token={TOKEN}&transport=websocket",
        f"Authorization: Bearer {TOKEN}",
        "bearer opaque-c2lnbmF0dXJl-_x",
        "/socket.io/?token=opaque-c2lnbmF0dXJl-_x&EIO=4",
        f"'{TOKEN}'",
        TOKEN.rpartition(".")[0] + ".",
    ],
)
def test_a_token_is_in_no_record_wherever_it_comes_from(
    capsys: pytest.CaptureFixture[str], text: str, form: str
) -> None:
    configure(form=form)
    log = structlog.get_logger("ours")
    log.info(text)
    log.info("nested", headers={"Authorization": text, "list": [text]}, error=ValueError(text))
    logging.getLogger("library").error("request %s", text)
    try:
        fail(text)
    except ValueError:
        log.exception("failed")
    output = capsys.readouterr().err
    for secret in ("c2lnbmF0dXJl", "eyJzdWIi"):
        assert secret not in output
    assert output.count("[redacted]") >= 6


def test_redacting_leaves_the_rest_alone() -> None:
    assert logs.redact(f"a {TOKEN} b") == "a [redacted] b"
    assert logs.redact("?token=abc&EIO=4") == "?token=[redacted]&EIO=4"
    for text in ("no token here", "bearer", "the key eyJ", "Bearer of news: none"):
        assert "Bearer of" in text or logs.redact(text) == text


def test_records_below_the_level_and_chatter_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("warning")
    structlog.get_logger("ours").info("no")
    logging.getLogger("theirs").info("no")
    structlog.get_logger("ours").warning("yes")
    assert [each["event"] for each in read(capsys)] == ["yes"]
    configure("info")
    for name in ("aiohttp.access", "engineio", "socketio", "alembic"):
        logging.getLogger(name).info("chatter")
    assert read(capsys) == []


def test_each_record_tells_of_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("ours")
        logging.getLogger("theirs").info("theirs")
    structlog.get_logger().info("outside")
    assert [each.get("request_id") for each in read(capsys)] == ["r1", "r1", None]


def test_configuring_again_replaces_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure()
    logging.getLogger("library").info("once")
    assert len(read(capsys)) == 1


def test_the_console_is_for_people_and_warns_of_nothing() -> None:
    """In a process of its own, for what is cached at the first record."""
    program = (
        "import structlog\n"
        "from chatserver.telemetry.logs import configure\n"
        "from chatserver.settings import LoggingSettings\n"
        "configure(LoggingSettings('info', 'console', 1.0))\n"
        "try:\n    1 / 0\n"
        "except ZeroDivisionError:\n    structlog.get_logger('ours').exception('failed', seq=1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert "failed" in done.stderr
    assert "seq=1" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
