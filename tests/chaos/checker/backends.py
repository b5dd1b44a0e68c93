"""The host application's back end: it writes to people's conversations."""

import asyncio
from dataclasses import dataclass

from tests.chaos.checker.clients import UNCERTAIN, Answer, Client
from tests.chaos.checker.histories import History, Write
from tests.chaos.checker.plans import Action
from tests.chaos.checker.sessions import Lost


@dataclass(slots=True)
class Service:
    """Writes system messages, by REST alone."""

    client: Client
    history: History

    @property
    def user(self) -> str:
        return str(self.client.person.id)

    def complain(self, invariant: int, what: str, chat_id: str = "") -> None:
        self.history.complain(invariant, what, chat=chat_id, device="service")

    async def send(self, action: Action, chat_id: str) -> None:
        """Repeated until it is answered, as an outbox does."""
        write = Write("send", "service", self.client.person.id, chat_id, action.text, action.key)
        body = {
            "content": action.text,
            "message_type": "system",
            "client_msg_id": str(action.key),
        }
        while True:
            self.history.begin(write)
            try:
                answer = await self.client.send("rest", chat_id, body)
            except Lost:
                answer = Answer("unavailable", {})
            if answer.is_ok:
                return self.history.acknowledge(write, answer.body["message"])
            if answer.code not in UNCERTAIN:
                return self.history.refuse(write, answer.code)
            self.history.lose(write)
            await asyncio.sleep(0.2)
