"""The message log: evenly a part of the records, each as the logs write it."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import structlog

from chatserver.errors import NotFound
from chatserver.models import Message, MessageStatus, MessageType, SenderRole
from chatserver.services.message_log import MessageLog
from chatserver.settings import LoggingSettings
from chatserver.telemetry import logs

Configure = Callable[[str, str], Callable[[], str]]

MESSAGE = Message(
    id=uuid4(),
    conversation_id=uuid4(),
    seq=1,
    rev=1,
    sender_id=uuid4(),
    sender_role=SenderRole.CLIENT,
    message_type=MessageType.TEXT,
    content="a secret",
    media_url=None,
    status=MessageStatus.SENT,
    created_at=datetime.now(UTC),
    updated_at=datetime.now(UTC),
    delivered_at=None,
    read_at=None,
    edited_at=None,
    is_deleted=False,
    client_msg_id=None,
    reply_to_seq=None,
)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Log as in production, at a level and in a format; what has been logged is answered."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers, root.level

    def configure(level: str, form: str) -> Callable[[], str]:
        monkeypatch.setattr("sys.stderr", stream)
        logs.configure(LoggingSettings(level, form, messages=1.0))
        monkeypatch.undo()
        return stream.getvalue

    yield configure
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_records_are_as_all_others_and_without_content(configure: Configure) -> None:
    read = configure("info", "json")
    MessageLog(1.0).sent([MESSAGE] * 3)
    structlog.get_logger("chatserver.services.message_log").info("message_sent")
    *sent, other = records(read())
    assert len(sent) == 3
    fields = {key: value for key, value in sent[0].items() if key not in other}
    assert fields == {
        "conversation_id": str(MESSAGE.conversation_id),
        "sender_id": str(MESSAGE.sender_id),
        "message_type": "text",
        "message_length": len("a secret"),
    }
    timestamps = [record.pop("timestamp") for record in (sent[0], other)]
    assert {len(each) for each in timestamps} == {len("2026-01-31T12:00:00.000000Z")}
    assert other == {key: value for key, value in sent[0].items() if key not in fields}


def test_people_may_read_them_too(configure: Configure) -> None:
    read = configure("info", "console")
    MessageLog(1.0).sent([MESSAGE])
    assert "message_sent" in read()
    assert str(MESSAGE.sender_id) in read()


def test_a_higher_level_leaves_them_out(configure: Configure) -> None:
    read = configure("warning", "json")
    MessageLog(1.0).sent([MESSAGE])
    MessageLog(1.0).refused(NotFound())
    assert read() == ""


@pytest.mark.parametrize(("fraction", "count"), [(0.125, 125), (1.0, 1000), (0.0, 0)])
def test_a_fraction_is_written_evenly(configure: Configure, fraction: float, count: int) -> None:
    read = configure("info", "json")
    log = MessageLog(fraction)
    for _ in range(100):
        log.sent([MESSAGE] * 10)
    for _ in range(1000):
        log.refused(NotFound())
    events = [record["event"] for record in records(read())]
    assert (events.count("message_sent"), events.count("event_refused")) == (count, count)
