"""The raw websocket on a real node: the seed's frames, beside people who use Socket.IO."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from structlog.testing import capture_logs

from chatserver.models import Role
from tests.kit.app import Person, RunningServer, add_person, running_server
from tests.kit.clients import Chat, Device, Rest, open_chat
from tests.kit.raw import RawDevice

MAX_SOCKETS = 3


@pytest.fixture(scope="module")
async def server(database_url: str) -> AsyncIterator[RunningServer]:
    settings = {"realtime__max_sockets_per_user": MAX_SOCKETS, "presence__offline_grace": 0.1}
    async with running_server(database_url, **settings) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as http:
        yield http


@pytest.fixture
def rest(http: ClientSession, server: RunningServer) -> Rest:
    return Rest(http, server.base_url)


@pytest.fixture
async def chat(rest: Rest, server: RunningServer) -> Chat:
    return await open_chat(rest, server.database_url)


@pytest.fixture
async def tenant(
    http: ClientSession, server: RunningServer, chat: Chat
) -> AsyncIterator[RawDevice]:
    """On a raw websocket."""
    raw = await RawDevice.open(http, server.base_url, chat, chat.tenant)
    yield raw
    await raw.close()


@pytest.fixture
async def landlord(http: ClientSession, server: RunningServer, chat: Chat) -> AsyncIterator[Device]:
    """On Socket.IO, in the conversation's room."""
    device = await Device.open(http, server.base_url, chat.landlord)
    assert (await device.call("join", {"conversation_id": chat.id}))["ok"]
    yield device
    await device.close()


async def test_the_seeds_own_test_passes(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    conversation_id, auth_token = chat.id, chat.tenant.token()
    async with http.ws_connect(
        f"{server.base_url}/ws/chat/{conversation_id}?token={auth_token}"
    ) as websocket:
        await websocket.send_json({"type": "message", "content": "Hola!", "message_type": "text"})

        data = await websocket.receive_json()

        assert data["type"] == "message"
        assert data["data"]["content"] == "Hola!"


async def test_two_people_talk_one_of_them_by_raw_frames(
    tenant: RawDevice, landlord: Device, chat: Chat
) -> None:
    """All events of the conversation come as frames, with the same objects, and no others."""
    await tenant.send(type="message", content="Is it free?", message_type="text")
    (asked,) = await landlord.heard("message")
    assert await tenant.heard("message") == [{"type": "message", "data": asked}]
    assert asked["sender_id"] == str(chat.tenant.id)

    await tenant.send(type="typing", is_typing=True)
    (typing,) = await landlord.heard("typing")
    assert (typing["user_id"], typing["is_typing"]) == (str(chat.tenant.id), True)

    talk = {"conversation_id": chat.id}
    assert (await landlord.call("typing", {**talk, "is_typing": True}))["ok"]
    assert (await landlord.call("delivered", {**talk, "seq": 1}))["ok"]
    answered = (await landlord.call("message", {**talk, "content": "It is"}))["message"]
    edited = {"message_id": answered["id"], "content": "It is."}
    assert (await landlord.call("edit", edited))["ok"]
    await tenant.send(type="read", message_id=answered["id"])
    (read,) = await landlord.heard("read_receipt")
    assert (read["seq"], read["read_by"]) == (2, str(chat.tenant.id))
    assert (await landlord.call("delete", {"message_id": answered["id"]}))["ok"]

    await tenant.heard("message_deleted")
    (typed,) = tenant.of("typing")
    assert typed["data"]["user_id"] == typed["user_id"] == str(chat.landlord.id)
    assert tenant.of("read_receipt") == [{"type": "read_receipt", **read, "data": read}]
    for kind in ("message", "message_updated", "message_deleted", "delivery_receipt"):
        frames = [{"type": kind, "data": data} for data in landlord.of(kind)]
        assert tenant.of(kind) == frames != []
    kinds = {frame["type"] for frame in tenant.frames}
    assert kinds - {"presence"} == {
        "message", "typing", "message_updated", "message_deleted", "delivery_receipt",
        "read_receipt",
    }  # fmt: skip


async def test_it_hears_nothing_of_its_users_other_conversations(
    http: ClientSession, server: RunningServer, chat: Chat, tenant: RawDevice, rest: Rest
) -> None:
    other = await open_chat(rest, server.database_url)
    opened = await rest.post("conversations", chat.tenant, {"listing_id": str(other.listing_id)})
    assert opened.status == 201
    await rest.send(other.landlord, opened.body["id"], content="elsewhere")
    await rest.send(chat.landlord, chat.id, content="here")
    (heard,) = await tenant.heard("message")
    assert heard["data"]["content"] == "here"
    assert {frame["type"] for frame in tenant.frames} == {"message"}


async def test_presence_follows_the_raw_connection_and_is_told_to_it(
    http: ClientSession, server: RunningServer, chat: Chat, landlord: Device
) -> None:
    raw = await RawDevice.open(http, server.base_url, chat, chat.tenant)
    (online,) = await landlord.heard("presence")
    assert (online["user_id"], online["is_online"]) == (str(chat.tenant.id), True)
    await raw.close()
    assert not (await landlord.heard("presence", 2))[1]["is_online"]

    raw = await RawDevice.open(http, server.base_url, chat, chat.tenant)
    await landlord.heard("presence", 3)  # it is in the room by the time that it has answered
    await raw.send(type="typing", is_typing=False)
    await raw.send(type="typing")
    await raw.heard("error")
    await landlord.close()
    (offline,) = await raw.heard("presence")
    data = {name: offline[name] for name in ("user_id", "is_online", "last_seen_at", "timestamp")}
    assert offline == {"type": "presence", **data, "data": data}
    assert (data["user_id"], data["is_online"]) == (str(chat.landlord.id), False)
    await raw.close()


async def test_a_send_is_safe_to_repeat_with_its_key_and_each_is_answered(
    http: ClientSession, server: RunningServer, tenant: RawDevice, landlord: Device, chat: Chat
) -> None:
    key = str(uuid4())
    send = {"type": "message", "content": "once", "client_msg_id": key}
    await tenant.send(**send)
    await tenant.send(**send)
    await tenant.send(**{**send, "content": "twice"})
    (conflict,) = await tenant.heard("error")
    assert (conflict["data"]["code"], conflict["data"]["client_msg_id"]) == (
        "idempotency_conflict",
        key,
    )
    # After a loss of the connection the repeat is answered on the next one.
    again = await RawDevice.open(http, server.base_url, chat, chat.tenant)
    await again.send(**send)
    answers = [*await tenant.heard("message", 2), *await again.heard("message")]
    assert [each["data"]["client_msg_id"] for each in answers] == [key] * 3
    assert {each["data"]["id"] for each in answers} == {answers[0]["data"]["id"]}
    assert len(landlord.of("message")) == 1
    await again.close()


async def test_a_senders_message_comes_to_their_other_raw_connection_once(
    http: ClientSession, server: RunningServer, tenant: RawDevice, chat: Chat
) -> None:
    other = await RawDevice.open(http, server.base_url, chat, chat.tenant)
    await other.send(type="typing", is_typing=False)
    await other.send(type="bad")
    await other.heard("error")  # so it has joined
    for number in range(20):
        await tenant.send(type="message", content=f"{number}")
    for raw in (tenant, other):
        texts = [frame["data"]["content"] for frame in await raw.heard("message", 20)]
        assert texts == [f"{number}" for number in range(20)]
    await tenant.send(type="bad")
    await tenant.heard("error")
    assert len(tenant.of("message")) == len(other.of("message")) == 20
    await other.close()


async def test_failures_of_services_are_error_frames_and_it_stays_open(
    tenant: RawDevice, chat: Chat
) -> None:
    key = str(uuid4())
    await tenant.send(type="message", content="", client_msg_id=key)
    await tenant.send(type="message", content="x" * 5001)
    await tenant.send(type="message", content="x", message_type="system", client_msg_id=key)
    await tenant.send(type="read", message_id=str(uuid4()))
    errors = [frame["data"] for frame in await tenant.heard("error", 4)]
    assert [(each["code"], each.get("client_msg_id")) for each in errors] == [
        ("invalid_payload", key), ("invalid_payload", None), ("forbidden", key),
        ("not_found", None),
    ]  # fmt: skip
    await tenant.send(type="message", content="still here")
    assert (await tenant.heard("message"))[0]["data"]["seq"] == 1


async def test_the_hosts_service_may_write_and_is_answered(
    http: ClientSession, server: RunningServer, chat: Chat, landlord: Device
) -> None:
    service = await add_person(server.database_url, Role.SERVICE)
    raw = await RawDevice.open(http, server.base_url, chat, service)
    await raw.send(type="message", content="A viewing is booked.", message_type="system")
    (answer,) = await raw.heard("message")
    assert [answer["data"]] == await landlord.heard("message")
    await raw.close()


# Who does not come in, or has to go


async def refused(
    http: ClientSession, server: RunningServer, conversation: str, token: str | None
) -> tuple[str, int | None]:
    """The code of the error frame, and that of the close."""
    query = "" if token is None else f"?token={token}"
    raw = RawDevice(await http.ws_connect(f"{server.base_url}/ws/chat/{conversation}{query}"))
    frames, code = await raw.ended()
    await raw.close()
    (frame,) = frames
    assert frame["type"] == "error"
    return frame["data"]["code"], code


async def test_bad_tokens_and_foreign_conversations_are_refused(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    stranger = await add_person(server.database_url)
    good, expired = chat.tenant.token(), chat.tenant.token(-60.0)
    forged = chat.tenant.token(secret="another secret that is as long as it has to be")
    for token in (None, "", "rubbish", expired, forged, Person(uuid4()).token()):
        assert await refused(http, server, chat.id, token) == ("unauthorized", 1008)
    assert await refused(http, server, chat.id, stranger.token()) == ("not_found", 1008)
    assert await refused(http, server, str(uuid4()), good) == ("not_found", 1008)
    assert await refused(http, server, "rubbish", good) == ("invalid_payload", 1008)


async def test_it_is_closed_when_its_token_runs_out(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    token = chat.tenant.token(2.0)
    raw = await RawDevice.open(http, server.base_url, chat, chat.tenant, token)
    frames, code = await raw.ended()
    assert ([frame["data"]["code"] for frame in frames], code) == (["token_expired"], 1008)
    await raw.close()


async def test_it_is_closed_when_its_token_is_revoked(
    rest: Rest, server: RunningServer, tenant: RawDevice, landlord: Device, chat: Chat
) -> None:
    service = await add_person(server.database_url, Role.SERVICE)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    revocation = {"user_id": str(chat.tenant.id), "expires_at": until}
    await tenant.send(type="message", content="here")
    await tenant.heard("message")
    assert (await rest.post("revocations", service, revocation)).status == 201
    frames, code = await tenant.ended()
    assert (frames[-1]["data"]["code"], code) == ("unauthorized", 1008)


async def test_it_counts_among_the_sockets_of_its_user(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    raws = [
        await RawDevice.open(http, server.base_url, chat, chat.tenant) for _ in range(MAX_SOCKETS)
    ]
    for raw in raws:
        await raw.send(type="message", content="here")
        await raw.heard("message")
    token = chat.tenant.token()
    assert await refused(http, server, chat.id, token) == ("rate_limited", 1008)
    for raw in raws:
        await raw.close()


async def test_where_the_setting_is_off_a_token_comes_in_a_header_alone(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    async with running_server(server.database_url, auth__raw_query_token=False) as strict:
        token = chat.tenant.token()
        assert await refused(http, strict, chat.id, token) == ("unauthorized", 1008)
        headers = {"Authorization": f"Bearer {token}"}
        address = f"{strict.base_url}/ws/chat/{chat.id}"
        async with http.ws_connect(address, headers=headers) as ws:
            await ws.send_json({"type": "message", "content": "in"})
            assert (await ws.receive_json())["data"]["content"] == "in"


# What operators see


async def test_no_token_is_in_a_log_or_an_answer(
    http: ClientSession, server: RunningServer, chat: Chat
) -> None:
    token, told = chat.tenant.token(), ""
    with capture_logs() as logs:
        raw = await RawDevice.open(http, server.base_url, chat, chat.tenant, token)
        await raw.send(type="message", content="hi")
        await raw.heard("message")
        await raw.close()
        assert await refused(http, server, str(uuid4()), token) == ("not_found", 1008)
        for method, path in (
            ("GET", f"chat/{chat.id}"), ("POST", f"chat/{chat.id}"), ("GET", ""),
            ("GET", "chat/"), ("GET", f"chat/{chat.id}/x"),
        ):  # fmt: skip
            url = f"{server.base_url}/ws/{path}?token={token}"
            async with http.request(method, url) as response:
                assert 400 <= response.status < 500
                told += f"{response.headers}{await response.text()}"
        with pytest.raises(WSServerHandshakeError):
            await RawDevice.open(
                http, server.base_url, chat, chat.tenant, token, Origin="http://foe.example"
            )
    opened: list[Any] = [each for each in logs if each["event"] == "socket_opened"]
    assert {each["user_id"] for each in opened} == {str(chat.tenant.id)}
    assert token not in f"{logs}{told}"


async def test_it_is_counted_like_other_sockets(
    http: ClientSession, server: RunningServer, tenant: RawDevice
) -> None:
    await tenant.send(type="message", content="hi")
    await tenant.heard("message")
    async with http.get(f"{server.base_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    assert 'chat_engineio_connections{transport="raw"} 1' in lines
    assert 'websocket_connections_total{user_role="client"} 1' in lines
