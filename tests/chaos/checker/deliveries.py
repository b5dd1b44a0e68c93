"""Delivery reports: a device says what it holds, as soon as it holds more."""

from collections.abc import Callable

from tests.chaos.checker.clients import Answer, Client
from tests.chaos.checker.histories import History, Outcome
from tests.chaos.checker.replicas import Replica
from tests.chaos.checker.sessions import Lost


class Deliveries:
    """What of a replica was reported. `refused` judges an answer that is an error."""

    def __init__(
        self,
        client: Client,
        history: History,
        replica: Callable[[], Replica],
        refused: Callable[[str, Answer], None],
    ) -> None:
        self._client = client
        self._history = history
        self._replica = replica
        self._refused = refused
        self._user = str(client.person.id)
        self._reported: dict[str, int] = {}
        self._is_running = False

    def forget(self) -> None:
        self._reported.clear()

    async def run(self) -> None:
        """Report until there is nothing new; one at a time. Raises Lost."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while todo := self._news():
                for chat_id, seq in todo:
                    await self._report(chat_id, seq)
        finally:
            self._is_running = False

    def _news(self) -> list[tuple[str, int]]:
        return [
            (chat.id, chat.last_seq)
            for chat in self._replica().chats.values()
            if chat.last_seq > self._reported.get(chat.id, 0)
        ]

    async def _report(self, chat_id: str, seq: int) -> None:
        self._history.begin_report("delivered", chat_id, self._user, seq)
        try:
            answer = await self._client.emit("delivered", {"conversation_id": chat_id, "seq": seq})
        except Lost:
            self._history.count("delivered", Outcome.UNKNOWN)
            raise
        if not answer.is_ok:
            self._history.count("delivered", Outcome.UNKNOWN, answer.code)
            self._refused("delivered", answer)
        self._history.count("delivered", Outcome.ACKNOWLEDGED)
        self._history.end_report("delivered", chat_id, self._user, seq)
        self._reported[chat_id] = max(self._reported.get(chat_id, 0), seq)
