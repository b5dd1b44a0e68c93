"""Invariants 5, 6, 9 and 10: what people see, what the log says, and what is left over."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.checker.histories import History, Outcome, Violation
from tests.chaos.checker.invariants import Holder
from tests.chaos.checker.oracle import Oracle
from tests.chaos.checker.replicas import Fetched, differences
from tests.chaos.checker.texts import MARKER


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a person gets who asks for everything anew, by REST."""

    chats: dict[str, Fetched]
    unread_total: int


def check_unread(
    holders: Sequence[Holder], fresh: Mapping[str, Fresh], oracle: Oracle
) -> Iterator[Violation]:
    """6: the stored count = a recount = what is answered = what a device computes."""
    for (chat_id, user), row in oracle.participants.items():
        counts = {"stored": row.unread_count, "recounted": oracle.recount(chat_id, user)}
        if user in fresh and chat_id in fresh[user].chats:
            counts["fetched"] = fresh[user].chats[chat_id].view["unread_count"]
        for holder in holders:
            chat = holder.replica.chats.get(chat_id)
            if holder.user == user and chat is not None:
                counts[f"counted by {holder.name}"] = chat.unread
                if chat.told_unread is not None:
                    counts[f"told to {holder.name}"] = chat.told_unread
        if len(set(counts.values())) > 1:
            yield Violation(6, f"unread of {user}: {counts}", chat_id)
    for user, total in oracle.totals.items():
        counts = {
            "stored": total,
            "summed up": sum(row.unread_count for (_, who), row in oracle.participants.items()
                             if who == user),
        }  # fmt: skip
        if user in fresh:
            counts["fetched"] = fresh[user].unread_total
        if len(set(counts.values())) > 1:
            yield Violation(6, f"all unread of {user}: {counts}")


def check_told(holders: Sequence[Holder], oracle: Oracle) -> Iterator[Violation]:
    """1, 6 and 9, live: what the events said last, without a sync, is how it is."""
    for holder in holders:
        for chat in holder.replica.chats.values():
            if chat.id not in oracle.chats:
                yield Violation(1, "its conversation is gone", chat.id, holder.name)
                continue
            unread = oracle.participants[chat.id, holder.user].unread_count
            if chat.told_unread not in (unread, None):
                what = f"the last event said {chat.told_unread} unread, it is {unread}"
                yield Violation(6, what, chat.id, holder.name, tuple(chat.journal)[-12:])
            # Nobody is told when the other puts it away.
            side = chat.people.index(holder.user)
            if chat.archived[side] != oracle.chats[chat.id].archived[side]:
                what = f"the events said archived {chat.archived[side]}, the opposite is stored"
                yield Violation(9, what, chat.id, holder.name, tuple(chat.journal)[-12:])
        total = holder.replica.total_unread
        if total is not None and total != oracle.totals.get(holder.user, 0):
            what = f"the last event said {total} unread in all, not {oracle.totals[holder.user]}"
            yield Violation(6, what, "", holder.name)


def check_views(holders: Sequence[Holder], fresh: Mapping[str, Fresh]) -> Iterator[Violation]:
    """9: what a device built from events and syncs equals a fresh fetch."""
    for holder in holders:
        for chat_id, what in differences(holder.replica, fresh[holder.user].chats):
            chat = holder.replica.chats.get(chat_id)
            evidence = tuple(chat.journal)[-12:] if chat else ()
            yield Violation(9, what, chat_id, holder.name, evidence)


def check_fetched(fresh: Mapping[str, Fresh], oracle: Oracle) -> Iterator[Violation]:
    """9, of the fetch itself: REST answers what the database holds, and no more."""
    for user, everything in fresh.items():
        own = {row.id for row in oracle.chats.values() if user in row.audience}
        if own != everything.chats.keys():
            strange = everything.chats.keys() - own
            yield Violation(
                5 if strange else 9,
                f"the list of {user} has {len(strange)} of others "
                f"and lacks {len(own - everything.chats.keys())} of their own",
            )
        for chat_id in own & everything.chats.keys():
            fetched = everything.chats[chat_id]
            stored = [(m.seq, m.id, m.content) for m in oracle.messages[chat_id]]
            answered = [(m["seq"], m["id"], m["content"]) for m in fetched.messages]
            if stored != answered:
                yield Violation(9, f"the history of {user} is not what is stored", chat_id)
            last = fetched.view["last_message"]
            expected = stored[-1][:2] if stored else None
            if (last and (last["seq"], last["id"])) != expected:
                yield Violation(9, f"last_message of {user} is {last}", chat_id)


def check_archived(history: History, oracle: Oracle) -> Iterator[Violation]:
    """9: a conversation stays put away until the next message, and not longer.

    Judged where it is clear what came last: the last message, or the archiving.
    """
    for row in oracle.chats.values():
        sends = [w for w in history.writes if w.kind == "send" and w.chat == row.id]
        stored = [write for write in sends if write.is_acknowledged]
        for user, is_archived in zip(row.people, row.archived, strict=True):
            own = [one for one in history.archives if (one.chat, one.user) == (row.id, user)]
            ends = [one.ended for one in own if one.ended is not None]
            if len(ends) < len(own):
                continue
            if is_archived and any((w.began or 0.0) > max(ends, default=0.0) for w in stored):
                yield Violation(9, f"a message did not bring it back for {user}", row.id)
            last = max(own, key=lambda one: one.began, default=None)
            if last is None or any(write.outcome is Outcome.UNKNOWN for write in sends):
                continue
            before = [one.ended or 0.0 for one in own if one is not last]
            before += [write.ended for write in stored]
            if max(before, default=0.0) < last.began and is_archived != last.value:
                yield Violation(9, f"archived: {last.value} was lost for {user}", row.id)


def check_log(log: str, tokens: Sequence[str]) -> Iterator[Violation]:
    """5: the log has nobody's text and no token."""
    lines = log.splitlines()
    for line in lines:
        if MARKER.search(line):
            yield Violation(5, "the log has a text", evidence=(line[:400],))
            break
    signatures = {token.rpartition(".")[2] for token in tokens}
    # How every token begins; three letters of it also come up in random ids.
    found = [text for text in ("eyJhbGciOi", *signatures) if text in log]
    for line in lines:
        if any(text in line for text in found):
            yield Violation(5, "the log has a token", evidence=(line[:400],))
            break


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node holds: sockets, sessions and tasks of its own count, file descriptors,
    memory in bytes, its connections to PostgreSQL, and how many of all nodes are idle in
    a transaction there."""

    sockets: float
    sessions: float
    tasks: float
    files: float
    memory: float
    connections: float
    transactions: float


SLACK = {
    "sockets": 0, "sessions": 0, "tasks": 3, "files": 12, "memory": 48 * 2**20,
    "connections": 12, "transactions": 0,
}  # fmt: skip
"""What may be more in any case: connections are opened when they are needed, and kept."""


def check_resources(before: Resources, after: Resources) -> Iterator[Violation]:
    """10: once everybody has left, a node holds what it held, give or take 10 %."""
    for name, slack in SLACK.items():
        began, ended = getattr(before, name), getattr(after, name)
        if ended > max(began * 1.1, began + slack):
            yield Violation(10, f"{name}: {began:.0f} in the beginning, {ended:.0f} in the end")
