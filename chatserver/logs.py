"""Structured logs: one line of JSON for each record, on standard error.

What a record may hold: ids, codes, counts, durations. Never a message's content,
and never a token: `redact` takes tokens out of whatever gets this far.
"""

import json
import logging
import re
import sys
from contextvars import ContextVar
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
        structlog.stdlib.ProcessorFormatter(
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
