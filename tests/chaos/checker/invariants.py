"""Invariants 1 to 4 and 7: what was said and acknowledged, against what the database holds.

Each check takes what was recorded and yields what is broken; none needs a server.
The numbers are those of the promise: 1 stored, 2 once, 3 numbered without a gap and
the same for all, 4 in real-time order, 5 nobody else's, 6 counted, 7 receipts,
9 as a fresh fetch, 10 nothing left over.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.checker.histories import History, Outcome, Violation, Write
from tests.chaos.checker.oracle import MessageRow, Oracle
from tests.chaos.checker.replicas import Chat, Replica


@dataclass(frozen=True, slots=True)
class Holder:
    """A device in the end: its name, whose it is, and what it holds."""

    name: str
    user: str
    replica: Replica


def check_stored(history: History, oracle: Oracle) -> Iterator[Violation]:
    """1: acknowledged ⊆ stored ⊆ acknowledged ∪ unknown."""
    by_text: dict[str, list[MessageRow]] = defaultdict(list)
    for message in oracle.all_messages():
        for text in {message.content, *oracle.replaced.get(message.id, ())}:
            by_text[text].append(message)
    for write in history.writes:
        yield from _check_write(write, by_text.get(write.text, []))
    known = {write.text for write in history.writes if write.outcome is not Outcome.REFUSED}
    for text, messages in by_text.items():
        if text and text not in known:
            yield _of(1, f"{text!r} is stored, but nobody wrote that", messages[0])


def _check_write(write: Write, found: Sequence[MessageRow]) -> Iterator[Violation]:
    label = f"the {write.kind} {write.text[:60]!r} of {write.device}"
    if write.outcome is Outcome.REFUSED:
        if found:
            yield _of(1, f"{label} was refused with {write.code!r}, but is stored", found[0])
        return
    if write.is_acknowledged and not found:
        yield Violation(1, f"{label} was acknowledged with seq {write.seq}, but is not stored",
                        write.chat, write.device)  # fmt: skip
    for message in found:
        if write.is_acknowledged and (message.id, message.seq) != (write.message_id, write.seq):
            what = f"{label} was acknowledged as seq {write.seq}, but stored as {message.seq}"
            yield _of(1, what, message, write.device)
        if (message.chat, message.sender) != (write.chat, str(write.sender)):
            yield _of(1, f"{label} is stored elsewhere, or as another's", message, write.device)


def check_deletes(history: History, oracle: Oracle) -> Iterator[Violation]:
    """1, for deletes: acknowledged ⊆ deleted ⊆ acknowledged ∪ unknown; no text is left."""
    for message in oracle.all_messages():
        outcomes = history.deletes.get(message.id, set())
        if Outcome.ACKNOWLEDGED in outcomes and not message.is_deleted:
            yield _of(1, "a delete was acknowledged, but the message is there", message)
        if message.is_deleted and not outcomes:
            yield _of(1, "a message is deleted, and nobody did that", message)
        if message.is_deleted and message.content:
            yield _of(1, "a deleted message still has its text", message)


def check_keys(oracle: Oracle) -> Iterator[Violation]:
    """2: one row for each (conversation, sender, client_msg_id), and for each text."""
    messages = oracle.all_messages()
    keys = Counter((m.chat, m.sender, m.key) for m in messages if m.key)
    texts = Counter(next(iter(oracle.replaced.get(m.id, ())), m.content) for m in messages)
    for message in messages:
        if keys[message.chat, message.sender, message.key] > 1:
            yield _of(2, f"client_msg_id {message.key} has more than one row", message)
        first = next(iter(oracle.replaced.get(message.id, ())), message.content)
        if first and texts[first] > 1:
            yield _of(2, f"{first[:60]!r} is stored {texts[first]} times", message)


def check_numbers(oracle: Oracle) -> Iterator[Violation]:
    """3, in the database: seq is 1 … n, and created_at and rev go along."""
    for chat in oracle.chats.values():
        messages = oracle.messages[chat.id]
        seqs = [message.seq for message in messages]
        if seqs != list(range(1, chat.last_seq + 1)):
            yield Violation(3, f"last_seq is {chat.last_seq}, the numbers are {_short(seqs)}",
                            chat.id)  # fmt: skip
        for before, after in pairwise(messages):
            if after.created_at <= before.created_at:
                yield _of(3, f"created_at does not rise from seq {before.seq}", after)
        revs = [message.rev for message in messages]
        revs += [receipt.rev for receipt in oracle.receipts if receipt.chat == chat.id]
        if max(revs, default=0) > chat.rev:
            yield Violation(3, f"rev is {chat.rev}, but a change has {max(revs)}", chat.id)
        if len({m.rev for m in messages}) < len(messages):
            yield Violation(3, "two messages have one rev", chat.id)


def check_logs(holders: Sequence[Holder], oracle: Oracle) -> Iterator[Violation]:
    """3, on the devices: each applied every message once, in the order of the numbers."""
    for holder in holders:
        for row in oracle.chats.values():
            if holder.user not in row.people:
                continue
            stored = [(message.seq, message.id) for message in oracle.messages[row.id]]
            chat = holder.replica.chats.get(row.id)
            applied = chat.log if chat else []
            if applied != stored:
                what = f"applied {_difference(applied, stored)}"
                yield Violation(3, what, row.id, holder.name, _journal(chat))


def check_real_time(history: History) -> Iterator[Violation]:
    """4: a send that was acknowledged before another began has the smaller number."""
    by_chat: dict[str, list[Write]] = defaultdict(list)
    for write in history.writes:
        if write.kind == "send" and write.is_acknowledged:
            by_chat[write.chat].append(write)
    for chat_id, writes in by_chat.items():
        ended = sorted(writes, key=lambda write: write.ended)
        done, highest = 0, None
        for write in sorted(writes, key=lambda write: write.began or 0.0):
            while done < len(ended) and ended[done].ended < (write.began or 0.0):
                if highest is None or ended[done].seq > highest.seq:
                    highest = ended[done]
                done += 1
            if highest is not None and highest.seq >= write.seq and highest is not write:
                what = (
                    f"seq {highest.seq} was acknowledged {(write.began or 0) - highest.ended:.3f} s"
                    f" before the send began that got seq {write.seq}"
                )
                yield Violation(4, what, chat_id, write.device)


def check_cursors(history: History, oracle: Oracle) -> Iterator[Violation]:
    """7: 0 ≤ read ≤ delivered ≤ last_seq, never back, and never without a device's word."""
    for (chat_id, user), row in oracle.participants.items():
        last = oracle.chats[chat_id].last_seq
        if not 0 <= row.read_seq <= row.delivered_seq <= last:
            yield Violation(
                7, f"read {row.read_seq}, delivered {row.delivered_seq}, last {last}", chat_id
            )
        for kind, stored, said in (
            ("delivered", row.delivered_seq, history.delivered),
            ("read", row.read_seq, history.read),
        ):
            if stored > said.get((chat_id, user), 0):
                what = f"{kind} is {stored}, but {user} said {said.get((chat_id, user), 0)}"
                yield Violation(7, what, chat_id)
            acknowledged = history.acknowledged.get((chat_id, user, kind), 0)
            if stored < acknowledged:
                what = f"{kind} {acknowledged} of {user} was acknowledged, but is {stored}"
                yield Violation(7, what, chat_id)
    for before, after in pairwise(oracle.receipts):
        same = (before.chat, before.user, before.kind) == (after.chat, after.user, after.kind)
        if same and after.seq <= before.seq:
            what = f"{after.kind} of {after.user} went from {before.seq} back to {after.seq}"
            yield Violation(7, what, after.chat)


def _of(invariant: int, what: str, message: MessageRow, device: str = "") -> Violation:
    evidence = f"message {message.id}: seq {message.seq} rev {message.rev} key {message.key}"
    return Violation(invariant, what, message.chat, device, (evidence,))


def _short(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown} … ({len(numbers)} in all)" if len(numbers) > 8 else shown


def _difference(applied: Sequence[tuple[int, str]], stored: Sequence[tuple[int, str]]) -> str:
    """Where two logs part."""
    for place, (one, other) in enumerate(zip(applied, stored, strict=False)):
        if one != other:
            return f"{one} at place {place + 1}, where {other} is stored"
    return f"{len(applied)} messages, and {len(stored)} are stored"


def _journal(chat: Chat | None) -> tuple[str, ...]:
    return () if chat is None else tuple(chat.journal)[-12:]
