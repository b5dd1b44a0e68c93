"""Cost of the message log: publishing a commit with it off, on, and sampled.

    .venv/bin/python -m bench.message_log_cost

The writer's own code publishes to nobody; records go to a file, as they would to a pipe.
The settings take turns, so that a machine that slows down slows them all; the figures are
CPU of this process, the least of the rounds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from uuid_utils.compat import uuid7

from chatserver.events import Event
from chatserver.models import Message, MessageType, SenderRole
from chatserver.repositories.appends import Appended, NewMessage, Outcome
from chatserver.services.message_log import MessageLog
from chatserver.services.writer import MessageWriter, _message
from chatserver.settings import LoggingSettings, WriterSettings
from chatserver.telemetry import logs
from chatserver.telemetry.metrics import Metrics

BATCHES = (1, 10)
FRACTIONS = (0.0, 0.01, 1.0)


class Nobody:
    """A publisher whose events go nowhere."""

    def publish(self, event: Event) -> None:
        pass


def make_writer(fraction: float) -> MessageWriter:
    log, nothing = MessageLog(fraction), Any
    return MessageWriter(
        nothing,  # type: ignore[arg-type]
        Nobody(),
        nothing,  # type: ignore[arg-type]
        Metrics(),
        WriterSettings(max_batch=100, max_waiting=100, timeout=1.0),
        introduce=nothing,  # type: ignore[arg-type]
        fill_in=nothing,  # type: ignore[arg-type]
        log_sent=log.sent if log.is_on else None,
    )


def stored(count: int) -> list[tuple[Appended, Message | None]]:
    """Build the result of one commit of so many messages."""
    found: list[tuple[Appended, Message | None]] = []
    for seq in range(1, count + 1):
        new = NewMessage(
            id=uuid7(),
            conversation_id=uuid4(),
            sender_id=uuid4(),
            voice=None,
            message_type=MessageType.TEXT,
            content="x" * 40,
            media_url=None,
            reply_to_seq=None,
            client_msg_id=None,
            digest=b"",
        )
        appended = Appended(
            outcome=Outcome.STORED,
            message_id=new.id,
            seq=seq,
            rev=seq,
            created_at=datetime.now(UTC),
            member_ids=(new.sender_id, uuid4()),
            is_news=False,
            unread=(),
            sender_role=SenderRole.CLIENT,
        )
        found.append((appended, _message(new, appended)))
    return found


def measure(publish: Callable[..., None], commit: Sequence[Any], messages: int) -> float:
    """CPU in µs for each message, of so many."""
    started = time.process_time()
    for _ in range(messages // len(commit)):
        publish([], commit)
    return (time.process_time() - started) / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    writers = {fraction: make_writer(fraction) for fraction in FRACTIONS}
    with tempfile.TemporaryFile("w") as file:
        errors, sys.stderr = sys.stderr, file
        logs.configure(LoggingSettings("info", "json", messages=1.0))
        sys.stderr = errors
        print("messages in a commit | logging.messages | µs for each message")
        for batch in BATCHES:
            commit = stored(batch)
            best = dict.fromkeys(FRACTIONS, float("inf"))
            for _ in range(args.rounds):
                for fraction, writer in writers.items():
                    cost = measure(writer._publish, commit, args.messages)
                    best[fraction] = min(best[fraction], cost)
            for fraction, cost in best.items():
                print(f"{batch:20} | {fraction:16} | {cost:.2f}")


if __name__ == "__main__":
    main()
