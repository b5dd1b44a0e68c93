"""What happened in a run: every operation with its outcome, and every broken promise seen."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID


class Outcome(StrEnum):
    """How an operation ended. UNKNOWN: no answer came, or one that leaves it open."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: the invariant's number (0: something else that must not happen)."""

    invariant: int
    what: str
    chat: str = ""
    device: str = ""
    evidence: Sequence[str] = ()

    def __str__(self) -> str:
        where = "".join(
            f", {label} {value}"
            for label, value in (("conversation", self.chat), ("device", self.device))
            if value
        )
        lines = [f"invariant {self.invariant}{where}: {self.what}"]
        return "\n".join([*lines, *(f"    {line}" for line in self.evidence)])


@dataclass(slots=True, eq=False)
class Write:
    """A text that somebody wants stored: a send, or an edit of the message `target`.

    `began` is when it was first asked for, `ended` when it was first acknowledged, in
    seconds of one clock. `key` is None for a send without a `client_msg_id`.
    """

    kind: str
    device: str
    sender: UUID
    chat: str
    text: str
    key: UUID | None = None
    target: str = ""
    began: float | None = None
    ended: float = 0.0
    attempts: int = 0
    outcome: Outcome | None = None
    code: str = ""
    message_id: str = ""
    seq: int = 0

    @property
    def is_acknowledged(self) -> bool:
        return self.outcome is Outcome.ACKNOWLEDGED


Report = tuple[str, str]
"""A conversation and a participant."""


@dataclass(frozen=True, slots=True)
class Known:
    """The highest number of a message, and of a change, that somebody was told of."""

    seq: int = 0
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Archive:
    """A conversation was put away or brought back for one side; `ended` is None when no
    answer came."""

    chat: str
    user: str
    value: bool
    began: float
    ended: float | None


@dataclass(slots=True)
class History:
    """Everything that was done and seen; all times are of `clock`."""

    clock: Callable[[], float] = time.monotonic
    writes: list[Write] = field(default_factory=list)
    deletes: dict[str, set[Outcome]] = field(default_factory=lambda: defaultdict(set))
    counts: Counter[tuple[str, Outcome, str]] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    delivered: dict[Report, int] = field(default_factory=dict)
    """The highest number that a device of a participant has begun to report."""
    read: dict[Report, int] = field(default_factory=dict)
    acknowledged: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """The same for those whose report (`delivered`, `read`) was acknowledged."""
    known: dict[str, "Known"] = field(default_factory=dict)
    """How far each conversation is known to have come."""
    archives: list["Archive"] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    on_violation: Callable[[Violation], None] = lambda _: None

    def complain(
        self,
        invariant: int,
        what: str,
        *,
        chat: str = "",
        device: str = "",
        evidence: Sequence[str] = (),
    ) -> None:
        """Note a broken promise; the same one of a device and conversation once."""
        violation = Violation(invariant, what, chat, device, tuple(evidence))
        known = [(v.invariant, v.chat, v.device) for v in self.violations]
        if known.count((invariant, chat, device)) < 3 and len(known) < 60:
            self.violations.append(violation)
        self.figures["violations"] += 1
        self.on_violation(violation)

    def complain_of(self, found: Iterable[Violation]) -> None:
        for one in found:
            self.complain(
                one.invariant, one.what, chat=one.chat, device=one.device, evidence=one.evidence
            )

    def count(self, kind: str, outcome: Outcome, code: str = "") -> None:
        self.counts[kind, outcome, code] += 1

    # Writes

    def begin(self, write: Write) -> None:
        """An attempt at a write begins."""
        if write.began is None:
            write.began = self.clock()
            self.writes.append(write)
        write.attempts += 1

    def acknowledge(self, write: Write, message: dict[str, Any]) -> None:
        """The write was acknowledged, perhaps not for the first time."""
        self.know(write.chat, message["seq"], message["rev"])
        if write.is_acknowledged:
            if (write.message_id, write.seq) != (message["id"], message["seq"]):
                self.complain(
                    2, f"the same send was answered with seq {write.seq}, then {message['seq']}",
                    chat=write.chat, device=write.device,
                )  # fmt: skip
            return
        write.ended = self.clock()
        write.outcome = Outcome.ACKNOWLEDGED
        write.message_id, write.seq = message["id"], message["seq"]
        if write.kind == "send":
            self.latencies.append(write.ended - (write.began or write.ended))

    def know(self, chat: str, seq: int, rev: int) -> None:
        """Somebody was told of this: it is committed."""
        known = self.known.get(chat, Known())
        self.known[chat] = Known(max(known.seq, seq), max(known.rev, rev))

    def refuse(self, write: Write, code: str) -> None:
        """It was refused; after an attempt without an answer it may still be stored."""
        if write.outcome is None:
            write.outcome, write.code = Outcome.REFUSED, code

    def lose(self, write: Write) -> None:
        """An attempt ended without a clear answer."""
        if write.outcome is None:
            write.outcome = Outcome.UNKNOWN

    # Receipts

    def begin_report(self, kind: str, chat: str, user: str, seq: int) -> None:
        """A device is about to say that it holds, or has read, everything up to `seq`."""
        for name, table in (("delivered", self.delivered), ("read", self.read)):
            if name == kind or kind == "read":
                table[chat, user] = max(table.get((chat, user), 0), seq)

    def end_report(self, kind: str, chat: str, user: str, seq: int) -> None:
        """That was acknowledged."""
        key = (chat, user, kind)
        self.acknowledged[key] = max(self.acknowledged.get(key, 0), seq)
