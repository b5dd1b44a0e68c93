"""What is watched while a run goes on: whatever reaches somebody, and what answers say."""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from tests.chaos.checker.histories import History, Known
from tests.chaos.checker.plans import ChatSpec, Person
from tests.chaos.checker.replicas import Replica
from tests.chaos.checker.texts import chats_in


class Named(Protocol):
    """Somebody who receives: a device, or a caller without one."""

    user: str

    def complain(self, invariant: int, what: str, chat_id: str = "") -> None: ...


class Watch:
    """Knows which conversation is whose."""

    def __init__(self, history: History, chats: Mapping[int, ChatSpec]) -> None:
        self.history = history
        self.ids: dict[str, ChatSpec] = {}
        """The conversations that have an id by now."""
        self._chats = chats

    def some_message(self, chat_id: str) -> str:
        """The id of an acknowledged message of the conversation, or one of nothing."""
        return next(
            (
                write.message_id
                for write in reversed(self.history.writes)
                if write.chat == chat_id and write.message_id
            ),
            chat_id,
        )

    def share(self, one: Person, other: Person) -> bool:
        """Whether two people take part in a conversation together, or will."""
        return any(one in chat.people and other in chat.people for chat in self._chats.values())

    def text(self, listener: Named, text: str) -> None:
        """Everything that comes in passes here: it may hold only texts of one's own."""
        for number in set(chats_in(text)):
            chat = self._chats.get(number)
            if chat is None or UUID(listener.user) not in {person.id for person in chat.people}:
                listener.complain(5, f"a text of the conversation {number} came: {text[:300]}")

    def received(self, listener: Named, event: str, payload: Any) -> None:
        """An event: it is about a conversation of one's own, and tells no receipt too early."""
        chat_id = payload.get("conversation_id")
        if event == "conversation":
            chat_id = payload["id"]
        if chat_id is not None and chat_id in self.ids and not self._is_in(listener, chat_id):
            listener.complain(5, f"the event {event} of another's conversation came", chat_id)
        if "rev" in payload and chat_id is not None:
            self.history.know(chat_id, 0, payload["rev"])
        if event == "delivery_receipt":
            self._check_receipt(listener, "delivered", payload, payload["delivered_to"])
        elif event == "read_receipt":
            self._check_receipt(listener, "read", payload, payload["read_by"])

    def _check_receipt(self, listener: Named, kind: str, payload: Any, who: str) -> None:
        table = self.history.delivered if kind == "delivered" else self.history.read
        chat_id, seq = payload["conversation_id"], payload["seq"]
        said = table.get((chat_id, who), 0)
        if seq > said:
            listener.complain(
                7, f"{who} is said to have {kind} up to {seq}, but only said {said}", chat_id
            )

    def mark(self) -> Mapping[str, Known]:
        """To be taken before a question: what its answer has to know."""
        return dict(self.history.known)

    def saw(self, listener: Named, view: Any, began: Mapping[str, Known]) -> None:
        """A view of a conversation in an answer to a question that `began` was taken before."""
        chat_id = view["id"]
        if listener.user not in (view["client_user_id"], view["owner_user_id"]):
            listener.complain(5, "an answer shows another's conversation", chat_id)
        known = began.get(chat_id, Known())
        if view["last_seq"] < known.seq or view["rev"] < known.rev:
            what = (
                f"an answer has seq {view['last_seq']} and rev {view['rev']}, but {known} was told"
            )
            listener.complain(1, what, chat_id)
        self.history.know(chat_id, view["last_seq"], view["rev"])
        said = self.history.delivered
        for person, seq in (
            (view["client_user_id"], view["peer_delivered_seq"]),
            (view["owner_user_id"], view["peer_delivered_seq"]),
        ):
            if person != listener.user and seq > said.get((chat_id, person), 0):
                listener.complain(7, f"peer_delivered_seq is {seq}: nobody said so", chat_id)

    def synced(self, listener: Named, replica: Replica, began: Mapping[str, Known]) -> None:
        """A sync has ended: nothing that was known before it is missing."""
        for chat_id, known in began.items():
            if chat_id in self.ids and self._is_in(listener, chat_id):
                chat = replica.chats.get(chat_id)
                if chat is None and not known.seq and self._is_owner(listener, chat_id):
                    continue  # Owners are not shown what nothing was written in.
                if chat is None or chat.last_seq < known.seq or chat.rev < known.rev:
                    held = "nothing" if chat is None else f"seq {chat.last_seq} rev {chat.rev}"
                    listener.complain(3, f"after sync it has {held}, not {known}", chat_id)

    def _is_owner(self, listener: Named, chat_id: str) -> bool:
        return UUID(listener.user) == self.ids[chat_id].owner.id

    def _is_in(self, listener: Named, chat_id: str) -> bool:
        chat = self.ids.get(chat_id)
        return chat is None or UUID(listener.user) in {person.id for person in chat.people}
