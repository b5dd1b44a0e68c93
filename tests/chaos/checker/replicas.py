"""What a device holds: conversations built from events and `sync` by the contract's rules alone."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
View = dict[str, Any]
Complain = Callable[[int, str, str], None]
"""Notes a broken promise: the invariant, what is wrong, the conversation's id."""

NUMBERED = ("message", "message_updated", "message_deleted", "delivery_receipt", "read_receipt")
"""The events that carry a `rev`: each is one change of its conversation."""


@dataclass(slots=True)
class Chat:
    """A conversation as its viewer's device has it.

    `rev`: everything up to this change is applied. `log`: the messages in the order in
    which they were applied, as (seq, id); nothing is ever taken out of it. `waiting`
    has the events that came before their predecessors. `told_unread` is what an event
    or a view said last; None where it is not clear which of the two is newer, as an
    `unread` has no `rev`.
    """

    id: str
    viewer: str
    people: tuple[str, str]
    rev: int = 0
    messages: dict[int, Message] = field(default_factory=dict)
    log: list[tuple[int, str]] = field(default_factory=list)
    delivered: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    archived: tuple[bool, bool] = (False, False)
    archived_as_of: tuple[int, str] = (0, "")
    told_unread: int | None = 0
    heard_of: int = 0
    waiting: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    unfinished: View | None = None
    """A view whose messages have to be paged first."""
    journal: deque[str] = field(default_factory=lambda: deque(maxlen=120))

    @property
    def last_seq(self) -> int:
        return len(self.log)

    @property
    def is_behind(self) -> bool:
        return self.heard_of > self.rev or self.unfinished is not None

    @property
    def unread(self) -> int:
        """As the device counts it: the others' messages behind the read cursor."""
        read = self.read.get(self.viewer, 0)
        return sum(
            1
            for seq in range(read + 1, self.last_seq + 1)
            if self.messages[seq]["sender_id"] != self.viewer
            and not self.messages[seq]["is_deleted"]
        )

    def status(self, seq: int) -> str:
        """How far an own message has come, by the other's cursors."""
        (other,) = (person for person in self.people if person != self.viewer)
        if self.read.get(other, 0) >= seq:
            return "read"
        return "delivered" if self.delivered.get(other, 0) >= seq else "sent"


class Replica:
    """All conversations of a device. Nothing here awaits: what is heard is applied at once."""

    def __init__(self, viewer: str, complain: Complain) -> None:
        self.viewer = viewer
        self.chats: dict[str, Chat] = {}
        self.total_unread: int | None = None
        """As the last event of this connection said, if there was one."""
        self._complain = complain

    def behind(self) -> list[str]:
        """The conversations of which something is missing."""
        return [chat.id for chat in self.chats.values() if chat.is_behind]

    def find(self, chat_id: str, view: View | None = None) -> Chat | None:
        chat = self.chats.get(chat_id)
        if chat is None and view is not None:
            people = (view["client_user_id"], view["owner_user_id"])
            chat = self.chats[chat_id] = Chat(chat_id, self.viewer, people)
        return chat

    # Events

    def receive(self, event: str, payload: dict[str, Any]) -> str | None:
        """Apply an event, or keep it until its predecessors are there.

        The id of its conversation when that is behind now, or not known at all.
        """
        chat_id = payload.get("conversation_id") or payload.get("id", "")
        chat = self.find(chat_id, payload if event == "conversation" else None)
        if chat is None:
            return None if event in ("typing", "presence", "error") else str(chat_id)
        if event in NUMBERED:
            self._receive_change(chat, event, payload)
        elif event == "conversation":
            self._receive_view(chat, payload)
        elif event == "unread":
            chat.told_unread = payload["unread_count"]
            chat.journal.append(f"told of {chat.told_unread} unread")
            self.total_unread = payload["total_unread_count"]
        elif event == "head":
            chat.heard_of = max(chat.heard_of, payload["rev"])
        return chat.id if chat.is_behind else None

    def _receive_change(self, chat: Chat, event: str, payload: dict[str, Any]) -> None:
        rev = payload["rev"]
        chat.heard_of = max(chat.heard_of, rev)
        if rev > chat.rev:
            chat.waiting[rev] = (event, payload)
            self._drain(chat)

    def _receive_view(self, chat: Chat, view: View) -> None:
        """It has no number of its own: it counts unless something later is known."""
        self._take_archived(chat, view)
        chat.heard_of = max(chat.heard_of, view["rev"])

    def _drain(self, chat: Chat) -> None:
        if chat.unfinished is not None:
            return
        while found := chat.waiting.pop(chat.rev + 1, None):
            chat.rev += 1
            self._apply(chat, *found)

    def _apply(self, chat: Chat, event: str, payload: dict[str, Any]) -> None:
        chat.journal.append(f"applied {event} rev {payload['rev']} seq {payload['seq']}")
        if event == "message":
            chat.archived, chat.archived_as_of = (False, False), (chat.rev, "")
            self._append(chat, payload)
        elif event in ("message_updated", "message_deleted"):
            self._replace(chat, payload)
        elif event == "delivery_receipt":
            self._move(chat, chat.delivered, payload["delivered_to"], payload["seq"])
        else:
            self._move(chat, chat.read, payload["read_by"], payload["seq"])
            who = payload["read_by"]
            chat.delivered[who] = max(chat.delivered.get(who, 0), payload["seq"])

    def _append(self, chat: Chat, message: Message) -> None:
        seq = message["seq"]
        if seq == chat.last_seq + 1:
            self._add(chat, message)
        elif seq > chat.last_seq:
            self._complain(3, f"seq {seq} follows on {chat.last_seq}", chat.id)
        elif chat.messages[seq]["id"] != message["id"]:
            self._complain(3, f"two messages have seq {seq}", chat.id)
        elif chat.messages[seq]["rev"] < message["rev"]:
            # A page of history may have brought it already, but as of no earlier change.
            self._complain(3, f"the message {seq} was sent again with a new rev", chat.id)

    def _add(self, chat: Chat, message: Message) -> None:
        chat.messages[message["seq"]] = message
        chat.log.append((message["seq"], message["id"]))

    def _replace(self, chat: Chat, message: Message) -> None:
        held = chat.messages.get(message["seq"])
        if held is None or held["id"] != message["id"]:
            self._complain(3, f"seq {message['seq']} changed, but is another message", chat.id)
        elif held["rev"] <= message["rev"]:
            chat.messages[message["seq"]] = message

    def _move(self, chat: Chat, cursors: dict[str, int], who: str, seq: int) -> None:
        before = cursors.get(who, 0)
        if not before < seq <= chat.last_seq:
            self._complain(7, f"a receipt moves from {before} to {seq} of {chat.last_seq}", chat.id)
        cursors[who] = seq

    # Sync

    def sync_state(self, chat_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """What `sync` takes under `open`."""
        chats = (self.chats.get(chat_id) for chat_id in chat_ids)
        return {
            chat.id: {"seq": chat.last_seq, "rev": chat.rev} for chat in chats if chat is not None
        }

    def take(self, synced: dict[str, Any]) -> None:
        """Take a conversation of an answer of `sync`."""
        chat = self.find(synced["id"], synced)
        assert chat is not None
        rev, changes = synced["rev"], synced.get("changes")
        chat.journal.append(
            f"synced rev {rev} seq {synced['last_seq']}, "
            f"{'no' if changes is None else len(changes)} changes, "
            f"limited {synced.get('limited')}, held rev {chat.rev} seq {chat.last_seq}"
        )
        self._take_archived(chat, synced)
        chat.heard_of = max(chat.heard_of, rev)
        if changes is None or rev < chat.rev or chat.unfinished is not None:
            if rev == chat.rev == chat.heard_of:
                chat.told_unread = synced["unread_count"]
            return
        if synced["limited"]:
            chat.unfinished = synced
            return
        self._take_messages(chat, changes)
        self._take_view(chat, synced)

    def take_page(self, chat: Chat, messages: Sequence[Message], *, is_last: bool) -> None:
        """Take a page of history, oldest first, of a conversation with an `unfinished` view."""
        self._take_messages(chat, messages)
        if is_last and chat.unfinished is not None:
            view, chat.unfinished = chat.unfinished, None
            self._take_view(chat, view)

    def _take_messages(self, chat: Chat, messages: Sequence[Message]) -> None:
        for message in messages:
            seq = message["seq"]
            held = chat.messages.get(seq)
            if held is not None:
                self._replace(chat, message)
            elif seq == chat.last_seq + 1:
                self._add(chat, message)
            else:
                self._complain(3, f"fetched seq {seq}, but held {chat.last_seq}", chat.id)

    def _take_view(self, chat: Chat, view: View) -> None:
        """Everything up to the view's `rev` is held now."""
        if chat.last_seq < view["last_seq"]:
            self._complain(
                3, f"last_seq is {view['last_seq']}, but only {chat.last_seq} were sent", chat.id
            )
        (peer,) = (person for person in chat.people if person != self.viewer)
        for cursors, who, name in (
            (chat.read, self.viewer, "read_seq"),
            (chat.read, peer, "peer_read_seq"),
            (chat.delivered, peer, "peer_delivered_seq"),
        ):
            if view[name] < cursors.get(who, 0):
                self._complain(7, f"{name} went from {cursors[who]} back to {view[name]}", chat.id)
            cursors[who] = view[name]
        read = view["read_seq"]
        chat.delivered[self.viewer] = max(chat.delivered.get(self.viewer, 0), read)
        chat.told_unread = view["unread_count"] if chat.heard_of <= view["rev"] else None
        chat.rev = view["rev"]
        for rev in [rev for rev in chat.waiting if rev <= chat.rev]:
            del chat.waiting[rev]
        self._drain(chat)

    def _take_archived(self, chat: Chat, view: View) -> None:
        as_of = (view["rev"], view["updated_at"])
        if as_of >= chat.archived_as_of:
            chat.archived = (view["archived_by_client"], view["archived_by_owner"])
            chat.archived_as_of = as_of


def differences(replica: Replica, fresh: "dict[str, Fetched]") -> Iterator[tuple[str, str]]:
    """Where a device differs from what a fresh fetch answers: (conversation, what)."""
    for chat_id in fresh.keys() ^ replica.chats.keys():
        where = "on the device" if chat_id in replica.chats else "in a fresh fetch"
        yield chat_id, f"the conversation is only {where}"
    for chat_id in fresh.keys() & replica.chats.keys():
        for what in _chat_differences(replica.chats[chat_id], fresh[chat_id]):
            yield chat_id, what


@dataclass(frozen=True, slots=True)
class Fetched:
    """A conversation and all its messages, oldest first, as REST answers them."""

    view: View
    messages: Sequence[Message]


COMPARED = (
    "id", "seq", "rev", "sender_id", "sender_role", "sender", "message_type", "content",
    "media_url", "created_at", "edited_at", "updated_at", "is_deleted",
    "client_msg_id", "reply_to_seq",
)  # fmt: skip


def _chat_differences(chat: Chat, fresh: Fetched) -> Iterator[str]:
    view = fresh.view
    (peer,) = (person for person in chat.people if person != chat.viewer)
    for name, held in (
        ("rev", chat.rev),
        ("last_seq", chat.last_seq),
        ("read_seq", chat.read.get(chat.viewer, 0)),
        ("peer_read_seq", chat.read.get(peer, 0)),
        ("peer_delivered_seq", chat.delivered.get(peer, 0)),
        ("archived_by_client", chat.archived[0]),
        ("archived_by_owner", chat.archived[1]),
    ):
        if held != view[name]:
            yield f"{name} is {held} on the device, {view[name]} in a fresh fetch"
    for message in fresh.messages:
        held_message = chat.messages.get(message["seq"])
        if held_message is None:
            yield f"the message {message['seq']} is missing on the device"
            continue
        for name in COMPARED:
            if held_message[name] != message[name]:
                yield (
                    f"{name} of the message {message['seq']} is {held_message[name]!r} "
                    f"on the device, {message[name]!r} in a fresh fetch"
                )
        if message["sender_id"] == chat.viewer:
            status = chat.status(message["seq"])
            if status != message["status"]:
                yield f"status of the message {message['seq']} is {status}, not {message['status']}"
