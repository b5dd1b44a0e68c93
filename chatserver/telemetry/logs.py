"""Structured logs: one line of JSON for each record, on standard error.

What a record may hold: ids, codes, counts, durations. Never a message's content,
and never a token: `redact` takes tokens out of whatever gets this far.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from chatserver.settings import LoggingSettings

_TOKEN = re.compile(
    r"\beyJ[\w-]+\.[\w-]*(?:\.[\w-]*)?"
    r"|(?<=token=)[^&\s\"'\\]+"
    r"|(?i:(?<=bearer ))[^\s\"'\\]+"
)
# What JSON lets through and a terminal or a reader of lines would obey.
_CONTROL = re.compile(r"[\x7f-\x9f\u2028\u2029]")
_REDACTED = "[redacted]"

# Libraries whose chatter is of no use to an operator.
_QUIET = ("aiohttp.access", "engineio", "socketio", "asyncio", "alembic")


_socket: ContextVar[tuple[str, str | None] | None] = ContextVar("socket", default=None)


def in_socket(socket_id: str, event: str | None = None) -> None:
    """From now on the records of this task are about a socket, and about an event of it.

    As structlog's own variables, but set at once: this is done for every event.
    """
    _socket.set((socket_id, event))


def _add_socket(_: WrappedLogger, __: str, record: EventDict) -> EventDict:
    if (socket := _socket.get()) is not None:
        socket_id, event = socket
        record.setdefault("socket_id", socket_id)
        if event is not None:
            record.setdefault("socket_event", event[:50])
    return record


def configure(settings: LoggingSettings) -> None:
    """Send the records of this process to standard error, those of libraries included."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_socket,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        (_JsonFormatter if settings.format == "json" else structlog.stdlib.ProcessorFormatter)(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redacted(renderer),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines(str):
    """Records that are rendered already."""

    __slots__ = ()


class _JsonFormatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.msg if isinstance(record.msg, _Lines) else super().format(record)


class ManyRecords:
    """A logger for many records of one event at once, which cost little more than one.

    What they hold is not looked through for tokens: ids, enumerations and numbers alone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._plain = logging.getLogger(name)
        self._log = structlog.get_logger(name)

    def info(self, event: str, records: Sequence[Mapping[str, object]]) -> None:
        """Write `event` once with the fields of each of `records`."""
        if not self._is_json():
            for fields in records:
                self._log.log(logging.INFO, event, **fields)
        elif self._plain.isEnabledFor(logging.INFO):
            shared = {
                "event": event,
                "level": "info",
                "logger": self._name,
                "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            }
            lines = [orjson.dumps({**fields, **shared}).decode() for fields in records]
            self._plain.info(_Lines("\n".join(lines)))

    def _is_json(self) -> bool:
        """Find out anew each time: loggers are made before the logs are configured."""
        return any(isinstance(each.formatter, _JsonFormatter) for each in logging.root.handlers)


def redact(text: str) -> str:
    """Take everything that looks like a token out of a rendered record."""
    return _TOKEN.sub(_REDACTED, text)


def _redacted(renderer: Processor) -> Processor:
    def render(logger: WrappedLogger, name: str, record: EventDict) -> str:
        return redact(str(renderer(logger, name, record)))

    return render


def _dumps(record: Any, **_: Any) -> str:
    try:
        line = orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Lone surrogates (bytes of a header that are no UTF-8) and endless integers.
        return json.dumps(record, default=str, skipkeys=True)
    return _CONTROL.sub(lambda char: f"\\u{ord(char[0]):04x}", line)
