"""What outsiders try: every event and route, on conversations that are not theirs."""

from typing import Any

from tests.chaos.checker.clients import API, UNCERTAIN, Answer
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import History, Outcome, Write
from tests.chaos.checker.plans import Action, ChatSpec
from tests.chaos.checker.watches import Watch

# Events whose payload is made of the conversation alone.
SIMPLE = ("join", "leave", "typing", "delivered", "read")


class Probes:
    """Each must be answered as if the conversation did not exist."""

    def __init__(self, history: History, watch: Watch) -> None:
        self._history = history
        self._watch = watch

    async def probe(self, device: Device, action: Action, chat_id: str, chat: ChatSpec) -> None:
        """Raises Lost."""
        write = self._write(device, action, chat_id)
        if write is not None:
            self._history.begin(write)
            self._history.lose(write)
        answer = await self._ask(device, action, chat_id, chat)
        kind = f"probe {action.twist}"
        if action.twist == "sync" and answer.is_ok:
            self._check_sync(device, chat_id, answer)
            self._history.count(kind, Outcome.REFUSED, "left out")
        elif answer.is_ok:
            self._history.count(kind, Outcome.ACKNOWLEDGED)
            device.complain(5, f"an outsider's {action.twist} was accepted", chat_id)
        elif answer.code in UNCERTAIN:
            self._history.count(kind, Outcome.UNKNOWN, answer.code)
        else:
            self._history.count(kind, Outcome.REFUSED, answer.code)
            if answer.code != "not_found":
                device.complain(5, f"an outsider's {action.twist} told {answer.code}", chat_id)
            elif write is not None:
                write.outcome = Outcome.REFUSED

    def _write(self, device: Device, action: Action, chat_id: str) -> Write | None:
        if not action.text:
            return None
        kind = "send" if action.twist in ("message", "post") else "edit"
        return Write(kind, device.spec.name, device.spec.person.id, chat_id, action.text,
                     action.key)  # fmt: skip

    def _check_sync(self, device: Device, chat_id: str, answer: Answer) -> None:
        if any(one["id"] == chat_id for one in answer.body["conversations"]):
            device.complain(5, "sync answered another's conversation", chat_id)

    async def _ask(self, device: Device, action: Action, chat_id: str, chat: ChatSpec) -> Answer:
        client, twist = device.client, action.twist
        message_id = self._watch.some_message(chat_id)
        text = {"content": action.text}
        if twist in SIMPLE:
            extra: dict[str, dict[str, Any]] = {
                "typing": {"is_typing": True},
                "delivered": {"seq": 1},
                "read": {"seq": 1},
            }
            payload: dict[str, Any] = {"conversation_id": chat_id, **extra.get(twist, {})}
            return await client.emit(twist, payload)
        if twist == "message":
            key = {"client_msg_id": str(action.key)}
            return await client.emit("message", {"conversation_id": chat_id, **text, **key})
        if twist in ("edit", "delete", "read_message"):
            event, more = twist.removesuffix("_message"), text if twist == "edit" else {}
            return await client.emit(event, {"message_id": message_id, **more})
        if twist == "sync":
            state = {chat_id: {"seq": 0, "rev": 0}}
            return await client.emit("sync", {"open": state, "limit": 1})
        return await self._ask_rest(device, twist, chat_id, message_id, action.text, chat)

    async def _ask_rest(
        self, device: Device, twist: str, chat_id: str, message_id: str, text: str, chat: ChatSpec
    ) -> Answer:
        conversation, message = f"{API}/conversations/{chat_id}", f"{API}/messages/{message_id}"
        method, path, body = {
            "view": ("GET", conversation, None),
            "history": ("GET", f"{conversation}/messages", None),
            "post": ("POST", f"{conversation}/messages", {"content": text}),
            "archive": ("PATCH", f"{conversation}/archive", {"archived": True}),
            "read_rest": ("PATCH", f"{message}/read", None),
            "edit_rest": ("PATCH", message, {"content": text}),
            "delete_rest": ("DELETE", message, None),
            "presence": ("GET", f"{API}/users/{self._stranger(device, chat)}/presence", None),
        }[twist]
        return await device.client.rest(method, path, body)

    def _stranger(self, device: Device, chat: ChatSpec) -> str:
        """Of the two, one whom the device's person shares no conversation with."""
        for person in chat.people:
            if not self._watch.share(device.spec.person, person):
                return str(person.id)
        return str(chat.listing_id)
