"""The two ways into the application, with the same operations: REST, and events."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from aiohttp import ClientSession

from tests.kit.app import Person
from tests.kit.clients import Answer, Chat, Device, Rest
from tests.kit.services import connected

ERROR = ("code", "detail", "retryable", "retry_after", "fields")
"""The members of an error that both edges have."""

ROWS = {
    "conversations": "SELECT * FROM chat.conversations WHERE id = $1",
    "participants": "SELECT * FROM chat.participants WHERE conversation_id = $1 ORDER BY role",
    "messages": "SELECT * FROM chat.messages WHERE conversation_id = $1 ORDER BY seq",
    "keys": "SELECT * FROM chat.message_keys WHERE conversation_id = $1 ORDER BY seq",
    "receipts": "SELECT * FROM chat.receipts WHERE conversation_id = $1 ORDER BY rev, kind",
    "edits": "SELECT * FROM chat.message_edits WHERE conversation_id = $1 ORDER BY rev",
    "totals": """
        SELECT t.* FROM chat.unread_totals t
        JOIN chat.participants p USING (user_id) WHERE p.conversation_id = $1 ORDER BY p.role
    """,
}

Outcome = tuple[str, Any]
"""Outcome of an operation: "ok" with what both edges tell, or "error" with its object."""


class Edge(Protocol):
    async def send(self, who: Person, conversation_id: str, parts: dict[str, Any]) -> Outcome: ...

    async def edit(self, who: Person, message_id: str, parts: dict[str, Any]) -> Outcome: ...

    async def delete(self, who: Person, message_id: str) -> Outcome: ...

    async def read(self, who: Person, message_id: str) -> Outcome: ...


class RestEdge:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def send(self, who: Person, conversation_id: str, parts: dict[str, Any]) -> Outcome:
        answer = await self._rest.send(who, conversation_id, **parts)
        return self._outcome(answer, (answer.body, answer.status == 200))

    async def edit(self, who: Person, message_id: str, parts: dict[str, Any]) -> Outcome:
        answer = await self._rest.call("PATCH", f"messages/{message_id}", who, parts)
        return self._outcome(answer, answer.body)

    async def delete(self, who: Person, message_id: str) -> Outcome:
        return self._outcome(await self._rest.call("DELETE", f"messages/{message_id}", who))

    async def read(self, who: Person, message_id: str) -> Outcome:
        return self._outcome(await self._rest.call("PATCH", f"messages/{message_id}/read", who))

    def _outcome(self, answer: Answer, told: Any = None) -> Outcome:
        if answer.status < 300:
            return "ok", told
        return "error", {name: answer.body[name] for name in ERROR if name in answer.body}


class SocketEdge:
    def __init__(self, http: ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url
        self._devices: dict[Person, Device] = {}

    async def send(self, who: Person, conversation_id: str, parts: dict[str, Any]) -> Outcome:
        answer = await self._call(who, "message", conversation_id=conversation_id, **parts)
        return self._outcome(answer, lambda: (answer["message"], answer["duplicate"]))

    async def edit(self, who: Person, message_id: str, parts: dict[str, Any]) -> Outcome:
        answer = await self._call(who, "edit", message_id=message_id, **parts)
        return self._outcome(answer, lambda: answer["message"])

    async def delete(self, who: Person, message_id: str) -> Outcome:
        return self._outcome(await self._call(who, "delete", message_id=message_id))

    async def read(self, who: Person, message_id: str) -> Outcome:
        return self._outcome(await self._call(who, "read", message_id=message_id))

    async def _call(self, who: Person, event: str, **payload: Any) -> Any:
        if who not in self._devices:
            self._devices[who] = await Device.open(self._http, self._base_url, who)
        return await self._devices[who].call(event, payload)

    def _outcome(self, answer: Any, told: Callable[[], Any] = lambda: None) -> Outcome:
        return ("ok", told()) if answer["ok"] else ("error", answer["error"])

    async def close(self) -> None:
        for device in self._devices.values():
            await device.close()


class World:
    """A conversation, and somebody who does everything through one edge."""

    def __init__(
        self,
        database_url: str,
        edge: Edge,
        chat: Chat,
        people: dict[str, Person],
        watchers: list[Device],
    ) -> None:
        self.database_url = database_url
        self.chat = chat
        self.people = people
        self.outcomes: list[Outcome] = []
        self._edge = edge
        self._watchers = watchers

    async def send(self, who: str, *, to: str | None = None, **parts: Any) -> str:
        """The id of the message; of nothing where there is none."""
        outcome = await self._edge.send(self.people[who], to or self.chat.id, parts)
        self.outcomes.append(outcome)
        return str(outcome[1][0]["id"] if outcome[0] == "ok" else uuid4())

    async def edit(self, who: str, message_id: str, **parts: Any) -> None:
        self.outcomes.append(await self._edge.edit(self.people[who], message_id, parts))

    async def delete(self, who: str, message_id: str) -> None:
        self.outcomes.append(await self._edge.delete(self.people[who], message_id))

    async def read(self, who: str, message_id: str) -> None:
        self.outcomes.append(await self._edge.read(self.people[who], message_id))

    async def close_conversation(self) -> None:
        async with connected(self.database_url) as connection:
            query = "UPDATE chat.conversations SET is_active = false WHERE id = $1"
            await connection.execute(query, UUID(self.chat.id))

    async def account(self) -> dict[str, Any]:
        """All that has come of it, with names instead of ids and times."""
        for watcher in self._watchers:
            await watcher.call("settle", {})
        async with connected(self.database_url) as connection:
            rows = {
                name: [dict(row) for row in await connection.fetch(query, UUID(self.chat.id))]
                for name, query in ROWS.items()
            }
        account = {
            "outcomes": self.outcomes,
            "events": [watcher.events for watcher in self._watchers],
            **rows,
        }
        names = {str(person.id): name for name, person in self.people.items()}
        return {part: named(value, names) for part, value in account.items()}


def named(value: Any, names: dict[str, str], key: str = "") -> Any:
    """`value` with each id replaced by a name, in the order in which they first appear."""
    if isinstance(value, dict):
        return {
            name: named(part, names, name) for name, part in value.items() if name != "changed_xid"
        }
    if isinstance(value, list | tuple):
        return [named(part, names, key) for part in value]
    if value is not None and (isinstance(value, datetime) or key.endswith("_at")):
        return "a time"
    if key == "retry_after":
        return bool(value)
    if isinstance(value, UUID) or (isinstance(value, str) and is_uuid(value)):
        return names.setdefault(str(value), f"id {len(names)}")
    return value


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
