"""One person's way to the server: REST calls and, while it is connected, a socket."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from chatserver.auth.tokens import issue
from tests.chaos.checker.plans import TOKEN_TTL, Person
from tests.chaos.checker.sessions import Lost, SocketSession

API = "/api/chat"
TIMEOUT = ClientTimeout(total=8.0)

# After these it is not known whether the operation took effect.
UNCERTAIN = ("unavailable", "internal_error")

# What a careless balancer says of a node that is away, in HTML.
OF_BALANCER = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. `code` is empty for success; `body` is the acknowledgement,
    or the JSON of a REST answer under "body"."""

    code: str
    body: dict[str, Any]

    @property
    def is_ok(self) -> bool:
        return not self.code


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs tokens; keeps each, so that they can be looked for in the log."""

    secret: str
    issued: list[str]

    def token(self, person: Person, ttl: float = TOKEN_TTL) -> str:
        token = issue(self.secret, person.id, person.role, ttl)
        self.issued.append(token)
        return token


class Client:
    """REST and socket for a person, at `port` of 127.0.0.1; `on_text` sees all that comes in.

    The socket connects to `socket_port` where that is another one. `ports` are those of
    each node by itself.
    """

    def __init__(
        self,
        http: ClientSession,
        port: int,
        person: Person,
        keys: Keys,
        on_text: Callable[[str], None],
        *,
        socket_port: int | None = None,
        ports: Sequence[int] = (),
    ) -> None:
        self.http = http
        self.port = port
        self.socket_port = socket_port or port
        self.ports = ports
        self.person = person
        self.keys = keys
        self.on_text = on_text
        self.session: SocketSession | None = None
        self._token = keys.token(person)

    @property
    def is_connected(self) -> bool:
        return self.session is not None and self.session.is_open

    async def emit(self, event: str, payload: Any) -> Answer:
        """Raises Lost when no acknowledgement comes, or there is no connection."""
        if self.session is None:
            raise Lost
        ack = await self.session.call(event, payload)
        return Answer("" if ack["ok"] else ack["error"]["code"], ack)

    async def rest(
        self, method: str, path: str, body: Any = None, *, port: int | None = None
    ) -> Answer:
        """At another `port` if one is given. Raises Lost when no answer comes."""
        sent = {"Authorization": f"Bearer {self._token}"}
        try:
            async with self.http.request(
                method,
                f"http://127.0.0.1:{port or self.port}{path}",
                data=None if body is None else orjson.dumps(body),
                headers=sent if body is None else sent | {"Content-Type": "application/json"},
                timeout=TIMEOUT,
            ) as response:
                text = await response.text()
        except (ClientError, TimeoutError, OSError) as error:
            raise Lost from error
        self.on_text(text)
        if response.status in OF_BALANCER and response.content_type == "text/html":
            raise Lost
        content: Any = orjson.loads(text) if text else None
        next_page = response.links.get("next")
        if response.status < 400:
            return Answer("", {"body": content, "next": next_page and str(next_page["url"])})
        return Answer(content["code"], content)

    async def send(
        self, transport: str, chat_id: str, body: dict[str, Any], *, port: int | None = None
    ) -> Answer:
        """A message; the body has its `message` and `duplicate` whichever transport is taken."""
        if transport == "socket":
            return await self.emit("message", {"conversation_id": chat_id, **body})
        path = f"{API}/conversations/{chat_id}/messages"
        answer = await self.rest("POST", path, body, port=port)
        return Answer(answer.code, {"message": answer.body.get("body")})

    async def edit(self, transport: str, message_id: str, content: str) -> Answer:
        if transport == "socket":
            return await self.emit("edit", {"message_id": message_id, "content": content})
        answer = await self.rest("PATCH", f"{API}/messages/{message_id}", {"content": content})
        return Answer(answer.code, {"message": answer.body.get("body")})

    async def delete(self, transport: str, message_id: str) -> Answer:
        if transport == "socket":
            return await self.emit("delete", {"message_id": message_id})
        return await self.rest("DELETE", f"{API}/messages/{message_id}")

    async def pages(self, path: str) -> list[Any]:
        """All pages of a list. Raises Lost, also for an error."""
        found: list[Any] = []
        following: str | None = path
        while following is not None:
            answer = await self.rest("GET", following)
            if not answer.is_ok:
                raise Lost
            found += answer.body["body"]
            following = answer.body["next"] and _path(answer.body["next"])
        return found


def _path(url: str) -> str:
    """The path and query of a URL."""
    return "/" + url.split("/", 3)[3] if "://" in url else url
