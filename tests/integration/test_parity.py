"""Both edges do the same: REST and Socket.IO in two equal worlds, effects and errors compared.

Each story is told twice, once by REST and once by events, each time by new people in
a new conversation. Afterwards the answers, what both people's devices heard and all
rows are the same, but for ids and times.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientSession

from chatserver.models import Role
from tests.kit.app import Person, RunningServer, add_person, running_server
from tests.kit.clients import Device, Rest, open_chat
from tests.kit.edges import RestEdge, SocketEdge, World
from tests.kit.waiting import eventually

MEDIA = "https://media.example.org/"

# Stories, with what each of their operations comes to

Story = Callable[[World], Awaitable[None]]


async def sends(world: World) -> None:
    key = str(uuid4())
    await world.send("tenant", content="hello")
    await world.send("landlord", content="  <b>hello</b> a < b <3 e\u0301 ", client_msg_id=key)
    await world.send("tenant", content="yes", reply_to_seq=1, message_type="text")
    await world.send("tenant", message_type="image", media_url=f"{MEDIA}a.jpg")
    await world.send("tenant", message_type="document", content="it", media_url=f"{MEDIA}a.pdf")
    await world.send("service", content="A viewing is booked.", message_type="system")
    await world.send("admin", content="Be kind.")


SENDS = ["ok"] * 7


async def repeats(world: World) -> None:
    key = str(uuid4())
    first = await world.send("tenant", content="hello", client_msg_id=key)
    assert await world.send("tenant", content="hello", client_msg_id=key) == first
    await world.send("tenant", content="bye", client_msg_id=key)
    await world.send("tenant", content="hello", client_msg_id=key, reply_to_seq=1)
    # Another sender's key is another key.
    await world.send("landlord", content="hello", client_msg_id=key)
    await world.edit("tenant", first, content="edited")
    await world.send("tenant", content="hello", client_msg_id=key)
    await world.close_conversation()
    await world.send("tenant", content="hello", client_msg_id=key)
    await world.send("tenant", content="hello", client_msg_id=str(uuid4()))


CONFLICT = "idempotency_conflict"
REPEATS = ["ok", "ok", CONFLICT, CONFLICT, "ok", "ok", "ok", "ok", "forbidden"]

BAD: dict[str, list[dict[str, Any]]] = {
    "ok": [{"content": "a" * 5000}],
    "forbidden": [{"content": "hello", "message_type": "system"}],
    "invalid_payload": [
        {},
        {"content": ""},
        {"content": " \u200b\n"},
        {"content": "<b></b>"},
        {"content": "a" * 5001},
        {"content": "a\0b"},
        {"content": 7},
        {"content": None},
        {"content": "hello", "seq": 7, "sender_id": str(UUID(int=7))},
        {"content": "hello", "message_type": "video"},
        {"content": "hello", "client_msg_id": "mine"},
        {"content": "hello", "reply_to_seq": 99},
        {"content": "hello", "reply_to_seq": 0},
        {"content": "hello", "reply_to_seq": True},
        {"content": "hello", "attachment_id": str(UUID(int=7))},
        {"content": "hello", "media_url": f"{MEDIA}a.jpg"},
        {"message_type": "image"},
        {"message_type": "image", "media_url": "https://elsewhere.example/a.jpg"},
    ],
}


async def bad_sends(world: World) -> None:
    for cases in BAD.values():
        for parts in cases:
            await world.send("tenant", **parts)


BAD_SENDS = [code for code, cases in BAD.items() for _ in cases]


async def sends_elsewhere(world: World) -> None:
    await world.send("stranger", content="hello")
    await world.send("tenant", to=str(uuid4()), content="hello")
    await world.send("service", to=str(uuid4()), content="hello")


SENDS_ELSEWHERE = ["not_found"] * 3


async def edits(world: World) -> None:
    message = await world.send("tenant", content="hello")
    picture = await world.send("tenant", message_type="image", media_url=f"{MEDIA}a.jpg")
    await world.edit("tenant", message, content="hello!")
    await world.edit("tenant", message, content="hello!")
    for who in ("landlord", "admin", "stranger"):
        await world.edit(who, message, content="mine now")
    await world.edit("tenant", picture, content="a flat")
    for content in ("", "a" * 5001, 7, "<i></i>"):
        await world.edit("tenant", message, content=content)
    await world.edit("tenant", message, content="x", seq=1)
    await world.edit("tenant", message)
    await world.edit("tenant", str(uuid4()), content="x")
    await world.delete("tenant", message)
    await world.edit("tenant", message, content="x")


EDITS = [
    "ok", "ok", "ok", "ok", "forbidden", "forbidden", "not_found", "forbidden",
    *["invalid_payload"] * 6, "not_found", "ok", "forbidden",
]  # fmt: skip


async def deletions(world: World) -> None:
    first = await world.send("tenant", content="hello")
    second = await world.send("tenant", content="hello again")
    await world.read("landlord", first)
    for who in ("landlord", "admin", "service", "stranger"):
        await world.delete(who, second)
    for message in (first, second, second, str(uuid4())):
        await world.delete("tenant", message)


DELETIONS = ["ok"] * 3 + ["forbidden"] * 3 + ["not_found"] + ["ok"] * 3 + ["not_found"]


async def readings(world: World) -> None:
    messages = [await world.send("tenant", content=f"{number}") for number in range(4)]
    reply = await world.send("landlord", content="yes")
    for message in (messages[1], messages[1], messages[0], reply):
        await world.read("landlord", message)
    await world.delete("tenant", messages[2])
    for message in (messages[3], messages[2], reply):
        await world.read("tenant", message)
    for who in ("admin", "service", "stranger"):
        await world.read(who, reply)
    await world.read("tenant", str(uuid4()))


READINGS = ["ok"] * 13 + ["forbidden"] * 2 + ["not_found"] * 2


async def late_edits(world: World) -> None:
    message = await world.send("tenant", content="hello")
    await world.edit("tenant", message, content="too late")
    await world.delete("tenant", message)


LATE_EDITS = ["ok", "forbidden", "ok"]


async def too_many(world: World) -> None:
    messages = [await world.send("tenant", content=f"{number}") for number in range(4)]
    await world.edit("tenant", messages[0], content="x")
    await world.send("service", content="I may.")
    await world.delete("tenant", messages[0])


TOO_MANY = ["ok", "ok", "ok", "rate_limited", "rate_limited", "ok", "ok"]


async def is_online(rest: Rest, person: Person, caller: Person) -> bool:
    online: bool = (await rest.get(f"users/{person.id}/presence", caller)).body["is_online"]
    return online


async def tell(story: Story, edge: str, server: RunningServer) -> dict[str, Any]:
    """The account of a story, told by new people through one edge."""
    url = server.database_url
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, url)
        people = {
            "tenant": chat.tenant,
            "landlord": chat.landlord,
            "stranger": await add_person(url),
            "admin": await add_person(url, Role.ADMIN),
            "service": await add_person(url, Role.SERVICE),
        }
        watchers = [await Device.open(http, server.base_url, person) for person in chat.people]
        for person in chat.people:  # It is written behind the handshake, and shown to the other.
            await eventually(partial(is_online, rest, person, people["service"]))
        sockets = SocketEdge(http, server.base_url)
        world = World(url, RestEdge(rest) if edge == "rest" else sockets, chat, people, watchers)
        await story(world)
        account = await world.account()
        await sockets.close()
        for watcher in watchers:
            await watcher.close()
    return account


@pytest.mark.parametrize(
    ("story", "codes", "overrides"),
    [
        (sends, SENDS, {}),
        (repeats, REPEATS, {}),
        (bad_sends, BAD_SENDS, {}),
        (sends_elsewhere, SENDS_ELSEWHERE, {}),
        (edits, EDITS, {}),
        (deletions, DELETIONS, {}),
        (readings, READINGS, {}),
        (late_edits, LATE_EDITS, {"messages__edit_window": 0.0}),
        (too_many, TOO_MANY, {"rate_limit__messages": "3/minute"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_both_edges_answer_and_do_the_same(
    database_url: str, story: Story, codes: list[str], overrides: dict[str, Any]
) -> None:
    settings = {"messages__media_origins": [MEDIA], **overrides}
    async with running_server(database_url, **settings) as server:
        by_rest = await tell(story, "rest", server)
        by_socket = await tell(story, "socket", server)
    for part in by_rest:
        assert by_rest[part] == by_socket[part], part
    outcomes = by_rest["outcomes"]
    assert ["ok" if kind == "ok" else told["code"] for kind, told in outcomes] == codes


async def test_joining_shows_what_rest_shows(database_url: str) -> None:
    async with running_server(database_url) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        await rest.send(chat.tenant, chat.id, content="hello")
        stranger = await add_person(database_url)
        service = await add_person(database_url, Role.SERVICE)
        for person in (*chat.people, service, stranger):
            device = await Device.open(http, server.base_url, person)
            joined = await device.call("join", {"conversation_id": chat.id})
            shown = (await rest.get(f"conversations/{chat.id}", person)).body
            if person is stranger:
                assert joined["error"]["code"] == shown["code"] == "not_found"
            else:
                assert without_last_seen(joined["conversation"]) == without_last_seen(shown)
            await device.close()


def without_last_seen(conversation: dict[str, Any]) -> dict[str, Any]:
    """It moves while one looks."""
    peer = conversation["peer_presence"]
    return {**conversation, "peer_presence": peer and peer["is_online"]}


async def test_syncing_answers_what_rest_answers(database_url: str) -> None:
    async with running_server(database_url) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        await rest.send(chat.tenant, chat.id, content="hello")
        for person in (*chat.people, await add_person(database_url)):
            device = await Device.open(http, server.base_url, person)
            synced = await device.call("sync", {})
            shown = (await rest.get("sync", person)).body
            for answer in (synced, shown):
                answer["conversations"] = [
                    without_last_seen(conversation) for conversation in answer["conversations"]
                ]
            assert synced == {"ok": True, **shown}
            for bad in ({"cursor": "rubbish"}, {"limit": 0}, {"limit": 7000}, {"since": 1}):
                (name, value), *_ = bad.items()
                refused = (await device.call("sync", bad))["error"]
                problem = (await rest.get(f"sync?{name}={value}", person)).body
                assert {key: problem[key] for key in refused} == refused
            await device.close()
