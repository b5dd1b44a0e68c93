"""What people do beside sending: each action of a plan is a method of its name."""

from typing import Any

from tests.chaos.checker.clients import API, UNCERTAIN, Answer
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import Archive, History, Outcome, Write
from tests.chaos.checker.plans import Action, Plan
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.watches import Watch

# What a well-behaved client may be answered all the same: the message that it wants to
# edit was deleted, or is a system message.
LEGITIMATE = {"edit": ("forbidden",), "typing": ("forbidden",)}


HOUR = 3600.0


class Operations:
    """The actions of a device. They raise Lost where no answer comes."""

    def __init__(self, plan: Plan, history: History, watch: Watch) -> None:
        self._specs = {chat.number: chat for chat in plan.chats}
        self._seconds = plan.shape.seconds
        self._history = history
        self._watch = watch
        self.is_over = False
        """Nobody stays away any more."""

    def settle(self, kind: str, device: Device, answer: Answer) -> None:
        """Count an answer; one that nobody should get is a fault."""
        if answer.is_ok:
            self._history.count(kind, Outcome.ACKNOWLEDGED)
        elif answer.code in UNCERTAIN:
            self._history.count(kind, Outcome.UNKNOWN, answer.code)
        else:
            self._history.count(kind, Outcome.REFUSED, answer.code)
        if answer.code and answer.code not in ("unavailable", *LEGITIMATE.get(kind, ())):
            device.complain(0, f"{kind} was answered with {answer.code}: {answer.body}")

    def _choose(
        self, device: Device, action: Action, chat_id: str, *, own: bool
    ) -> dict[str, Any] | None:
        """One of the messages that the device holds, its person's own where told."""
        chat = device.replica.chats.get(chat_id)
        found = [
            message
            for message in (chat.messages.values() if chat else ())
            if not own or (message["sender_id"] == device.user and not message["is_deleted"])
        ]
        return found[int(action.pick * len(found))] if found else None

    async def read(self, device: Device, action: Action, chat_id: str) -> None:
        """Up to one of the last messages."""
        chat = device.replica.chats.get(chat_id)
        if chat is None or not chat.last_seq:
            return
        seq = max(1, chat.last_seq - int(action.pick * 6))
        message_id, client = chat.messages[seq]["id"], device.client
        self._history.begin_report("read", chat_id, device.user, seq)
        if action.transport == "rest":
            answer = await client.rest("PATCH", f"{API}/messages/{message_id}/read")
        elif action.pick < 0.3:
            answer = await client.emit("read", {"message_id": message_id})
        else:
            answer = await client.emit("read", {"conversation_id": chat_id, "seq": seq})
        self.settle("read", device, answer)
        if answer.is_ok:
            self._history.end_report("read", chat_id, device.user, seq)

    async def edit(self, device: Device, action: Action, chat_id: str) -> None:
        message = self._choose(device, action, chat_id, own=True)
        if message is None:
            return
        write = Write("edit", device.spec.name, device.spec.person.id, chat_id, action.text,
                      target=message["id"])  # fmt: skip
        self._history.begin(write)
        try:
            answer = await device.client.edit(action.transport, message["id"], action.text)
        except Lost:
            self._history.lose(write)
            return
        self.settle("edit", device, answer)
        if answer.is_ok:
            self._history.acknowledge(write, answer.body["message"])
        elif answer.code in UNCERTAIN:
            self._history.lose(write)
        else:
            self._history.refuse(write, answer.code)

    async def delete(self, device: Device, action: Action, chat_id: str) -> None:
        message = self._choose(device, action, chat_id, own=True)
        if message is None:
            return
        outcomes = self._history.deletes[message["id"]]
        try:
            answer = await device.client.delete(action.transport, message["id"])
        except Lost:
            outcomes.add(Outcome.UNKNOWN)
            raise
        self.settle("delete", device, answer)
        outcomes.add(Outcome.ACKNOWLEDGED if answer.is_ok else Outcome.UNKNOWN)

    async def archive(self, device: Device, action: Action, chat_id: str) -> None:
        body = {"archived": action.pick < 0.7}
        path = f"{API}/conversations/{chat_id}/archive"
        began, ended = self._history.clock(), None
        try:
            answer = await device.client.rest("PATCH", path, body)
            self.settle("archive", device, answer)
            ended = self._history.clock() if answer.is_ok else None
        finally:
            self._history.archives.append(
                Archive(chat_id, device.user, body["archived"], began, ended)
            )

    async def history(self, device: Device, action: Action, chat_id: str) -> None:
        """A page, whose order must be that of the numbers."""
        chat = device.replica.chats.get(chat_id)
        before = int(action.pick * (chat.last_seq if chat else 0)) + 1
        forward = action.transport == "rest"
        bound = f"after_seq={before - 1}" if forward else f"before_seq={before}"
        path = f"{API}/conversations/{chat_id}/messages?limit=20&{bound}"
        answer = await device.client.rest("GET", path)
        self.settle("history", device, answer)
        if not answer.is_ok:
            return
        seqs = [message["seq"] for message in answer.body["body"]]
        expected = [before + n if forward else before - 1 - n for n in range(len(seqs))]
        if seqs != expected:
            device.complain(3, f"history with {bound} has the numbers {seqs}", chat_id)

    async def typing(self, device: Device, action: Action, chat_id: str) -> None:
        """In a conversation that the device has joined; or not, which is refused."""
        if chat_id not in device.joined and action.pick < 0.8:
            await self.join(device, action, chat_id)
        payload = {"conversation_id": chat_id, "is_typing": action.pick < 0.5}
        self.settle("typing", device, await device.client.emit("typing", payload))

    async def join(self, device: Device, action: Action, chat_id: str) -> None:
        device.joined.add(chat_id)
        began = self._watch.mark()
        answer = await device.client.emit("join", {"conversation_id": chat_id})
        self.settle("join", device, answer)
        if answer.is_ok:
            self._watch.saw(device, answer.body["conversation"], began)

    async def leave(self, device: Device, action: Action, chat_id: str) -> None:
        device.joined.discard(chat_id)
        payload = {"conversation_id": chat_id}
        self.settle("leave", device, await device.client.emit("leave", payload))

    async def view(self, device: Device, action: Action, chat_id: str) -> None:
        began = self._watch.mark()
        answer = await device.client.rest("GET", f"{API}/conversations/{chat_id}")
        self.settle("view", device, answer)
        if answer.is_ok:
            self._watch.saw(device, answer.body["body"], began)

    async def list(self, device: Device, action: Action, chat_id: str) -> None:
        """A page of the list; a view of each conversation counts as a view."""
        began = self._watch.mark()
        archived = "true" if action.pick < 0.5 else "false"
        path = f"{API}/conversations?limit=5&archived={archived}"
        answer = await device.client.rest("GET", path)
        self.settle("list", device, answer)
        for view in answer.body["body"] if answer.is_ok else ():
            self._watch.saw(device, view, began)

    async def unread(self, device: Device, action: Action, chat_id: str) -> None:
        self.settle("unread", device, await device.client.rest("GET", f"{API}/unread-count"))

    async def presence(self, device: Device, action: Action, chat_id: str) -> None:
        people = self._specs[action.chat].people
        path = f"{API}/users/{people[action.pick < 0.5].id}/presence"
        self.settle("presence", device, await device.client.rest("GET", path))

    async def sync(self, device: Device, action: Action, chat_id: str) -> None:
        """With the conversation under `open`, or over REST, which knows no `open`."""
        if action.transport == "socket":
            return await device.sync([chat_id])
        began = self._watch.mark()
        answer = await device.client.rest("GET", f"{API}/sync?limit=3")
        self.settle("sync", device, answer)
        for synced in answer.body["body"]["conversations"] if answer.is_ok else ():
            self._watch.saw(device, synced, began)
        return None

    async def authenticate(self, device: Device, action: Action, chat_id: str) -> None:
        token = device.client.keys.token(device.spec.person)
        answer = await device.client.emit("authenticate", {"token": token})
        self.settle("authenticate", device, answer)

    async def reconnect(self, device: Device, action: Action, chat_id: str) -> None:
        device.disconnect()

    async def pause(self, device: Device, action: Action, chat_id: str) -> None:
        """Away for a while: in a pocket, in a tunnel."""
        if self.is_over:
            device.disconnect()
            return
        device.disconnect(pause=self._seconds * action.pick / 3)

    async def away(self, device: Device, action: Action, chat_id: str) -> None:
        """Until it is told to be back."""
        device.disconnect(pause=HOUR)

    async def back(self, device: Device, action: Action, chat_id: str) -> None:
        """It is."""

    async def wait(self, device: Device, action: Action, chat_id: str) -> None:
        """It is there, which is waited for before anything that it does."""

    async def reinstall(self, device: Device, action: Action, chat_id: str) -> None:
        device.forget()
