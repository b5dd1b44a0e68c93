"""The namespace on a real node: sessions, answers when something fails, nothing left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from chatserver.errors import InternalError, InvalidPayload, UnknownEvent
from chatserver.models import MemberRole, Role
from chatserver.realtime.room_names import presence_room, user_room
from tests.kit.app import Person, RunningServer, add_listing, add_person, running_server
from tests.kit.clients import Chat, Device, Rest, open_chat, opened
from tests.kit.services import connected, principal
from tests.kit.stalls import PATIENCE
from tests.kit.waiting import eventually

YEARS = 40 * 365 * 24 * 3600.0


@pytest.fixture(scope="module")
async def module_server(database_url: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_url, jwt__max_lifetime=0) as server:
        yield server


@pytest.fixture
async def server(
    module_server: RunningServer, request: pytest.FixtureRequest
) -> AsyncIterator[RunningServer]:
    """The module's, or one of the test's own with the settings that its parameter has."""
    if not hasattr(request, "param"):
        yield module_server
        return
    url = module_server.database_url
    async with running_server(url, jwt__max_lifetime=0, **request.param) as server:
        yield server


own_server = pytest.mark.parametrize("server", [{}], indirect=True, ids=[""])


@pytest.fixture
async def chat(server: RunningServer) -> Chat:
    async with ClientSession() as http:
        return await open_chat(Rest(http, server.base_url), server.database_url)


@pytest.fixture
async def phone(server: RunningServer, chat: Chat) -> AsyncIterator[Device]:
    """The tenant's."""
    async with opened(server.base_url, chat.tenant) as (device,):
        yield device


async def metric(server: RunningServer, start: str) -> float:
    """The sum of the samples whose line begins so."""
    async with ClientSession() as http, http.get(f"{server.base_url}/metrics") as response:
        text = await response.text()
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)
    )


# Answers


@pytest.mark.parametrize("args", [(), ({}, {}), (None, None, None)], ids=len)
async def test_an_event_has_exactly_one_payload(phone: Device, args: tuple[Any, ...]) -> None:
    error = InvalidPayload("An event has exactly one payload.", fields={}).to_dict()
    assert await phone.call("join", *args) == {"ok": False, "error": error}


@pytest.mark.parametrize("payload", [None, 7, "join", [], [[]], True], ids=repr)
async def test_a_payload_is_an_object(phone: Device, payload: Any) -> None:
    error = InvalidPayload("The payload must be an object.", fields={}).to_dict()
    assert await phone.call("join", payload) == {"ok": False, "error": error}


@pytest.mark.parametrize(
    "event", ["connect", "disconnect", "on_event", "_join", "", "message ", "x" * 5000]
)
async def test_an_event_that_there_is_not_is_unknown(phone: Device, event: str) -> None:
    assert await phone.call(event, {}) == {"ok": False, "error": UnknownEvent().to_dict()}


async def test_of_duplicate_keys_the_last_one_counts(phone: Device, chat: Chat) -> None:
    payload = f'"conversation_id": "{chat.id}", "content": "first", "content": "last"'
    answer = await phone.call_raw(f'["message", {{{payload}}}]')
    assert answer["message"]["content"] == "last"


async def test_a_closed_conversation_takes_nothing_and_can_be_read(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    conversation = {"conversation_id": chat.id}
    message = {"message_id": (await phone.call("message", {**conversation, "content": "hi"}))[
        "message"
    ]["id"]}  # fmt: skip
    assert (await phone.call("join", conversation))["ok"]
    async with connected(server.database_url) as connection:
        await connection.execute("UPDATE chat.conversations SET is_active = false")
    for event, payload in {
        "message": {**conversation, "content": "hi"},
        "edit": {**message, "content": "ho"},
        "delete": message,
        "typing": {**conversation, "is_typing": True},
    }.items():
        answer = await phone.call(event, payload)
        assert answer["error"]["code"] == "forbidden", event
    for event in ("join", "leave"):
        assert (await phone.call(event, conversation))["ok"]
    async with opened(server.base_url, chat.landlord) as (desk,):
        assert await desk.call("read", {**conversation, "seq": 1}) == {
            "ok": True, "unread_count": 0,
        }  # fmt: skip


async def test_a_failure_of_the_server_is_told_without_its_cause_and_logged_once(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    async with connected(server.database_url) as connection:
        await connection.execute("ALTER TABLE chat.participants RENAME TO hidden")
        with capture_logs() as logs:
            answer = await phone.call("join", {"conversation_id": chat.id})
        await connection.execute("ALTER TABLE chat.hidden RENAME TO participants")
    assert answer == {"ok": False, "error": InternalError().to_dict()}
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["event_failed"]
    assert (await phone.call("join", {"conversation_id": chat.id}))["ok"]


async def test_a_refused_event_is_logged_without_content(phone: Device) -> None:
    with capture_logs() as logs:
        foreign = {"conversation_id": str(uuid4()), "content": "a secret"}
        assert not (await phone.call("message", foreign))["ok"]
        assert not (await phone.call("message", {"content": "a secret"}))["ok"]
    refused = [log for log in logs if log["event"] == "event_refused"]
    assert [log["code"] for log in refused] == ["not_found", "invalid_payload"]
    assert refused[0]["conversation_id"] == foreign["conversation_id"]
    assert refused[0]["message_length"] == len("a secret")
    assert "a secret" not in str(logs)


@pytest.mark.parametrize("server", [{"realtime__handler_timeout": 1.0}], indirect=True, ids=[""])
async def test_an_event_that_takes_too_long_is_unavailable_and_the_next_ones_are_handled(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    text = {"conversation_id": chat.id, "content": "hello"}
    async with ClientSession() as http:
        sent = (await Rest(http, server.base_url).send(chat.tenant, chat.id, content="hello")).body
    async with connected(server.database_url) as connection, connection.transaction():
        await connection.execute("SELECT FROM chat.conversations FOR UPDATE")
        edit = phone.call("edit", {"message_id": sent["id"], "content": "edited"})
        after = phone.call("nonsense", {})
        answers = await asyncio.gather(edit, after)
    assert answers[0]["error"]["code"] == "unavailable"
    assert answers[0]["error"]["retryable"] is True
    assert answers[0]["error"]["retry_after"] > 0
    assert answers[1]["error"]["code"] == "unknown_event"
    async with asyncio.timeout(PATIENCE):
        # A busy machine takes long, too.
        while not (await phone.call("message", text))["ok"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_an_answer_to_reading_tells_what_is_left(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    async with opened(server.base_url, chat.landlord) as (desk,):
        for number in range(3):
            text = {"conversation_id": chat.id, "content": f"{number}"}
            sent = (await phone.call("message", text))["message"]
        read = {"conversation_id": chat.id, "seq": 2}
        assert await desk.call("read", read) == {"ok": True, "unread_count": 1}
        # Going back changes nothing.
        read = {"conversation_id": chat.id, "seq": 1}
        assert await desk.call("read", read) == {"ok": True, "unread_count": 1}
        assert await desk.call("read", {"message_id": sent["id"]}) == {
            "ok": True,
            "unread_count": 0,
        }


@pytest.mark.parametrize(
    ("payload", "bad"),
    [
        ({}, {"conversation_id", "seq"}),
        ({"seq": 1}, {"conversation_id"}),
        ({"conversation_id": "ID"}, {"seq"}),
        ({"message_id": "ID", "seq": 1}, {"seq"}),
        ({"message_id": "ID", "conversation_id": "ID", "seq": 1}, {"seq", "conversation_id"}),
        ({"conversation_id": "ID", "seq": -1}, {"seq"}),
        ({"conversation_id": "ID", "seq": 2**53}, {"seq"}),
        ({"conversation_id": "ID", "seq": 1.0}, {"seq"}),
        ({"conversation_id": "ID", "seq": "1"}, {"seq"}),
        ({"conversation_id": "ID", "seq": True}, {"seq"}),
    ],
)
async def test_reading_names_a_message_or_a_place(
    phone: Device, chat: Chat, payload: dict[str, Any], bad: set[str]
) -> None:
    filled = {name: chat.id if value == "ID" else value for name, value in payload.items()}
    error = (await phone.call("read", filled))["error"]
    assert (error["code"], set(error["fields"])) == ("invalid_payload", bad)


async def test_leaving_where_one_never_was_is_fine_for_ones_own_alone(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    assert await phone.call("leave", {"conversation_id": chat.id}) == {"ok": True}
    async with opened(server.base_url, await add_person(server.database_url)) as (other,):
        answer = await other.call("leave", {"conversation_id": chat.id})
        assert answer["error"]["code"] == "not_found"


async def test_privileged_callers_may_join_any_conversation_but_take_no_part(
    server: RunningServer, chat: Chat
) -> None:
    admin = await add_person(server.database_url, Role.ADMIN)
    async with opened(server.base_url, admin, chat.landlord) as (device, desk):
        joined = await device.call("join", {"conversation_id": chat.id})
        assert joined["conversation"]["peer_presence"] is None
        place = {"conversation_id": chat.id, "seq": 0}
        assert (await device.call("delivered", place))["error"]["code"] == "forbidden"
        assert (await device.call("read", place))["error"]["code"] == "forbidden"
        sent = await device.call("message", {"conversation_id": chat.id, "content": "Be kind."})
        assert (await desk.heard("message"))[0] == sent["message"]


# Rooms


async def test_a_socket_hears_of_the_presence_of_those_it_shares_a_room_with(
    server: RunningServer, chat: Chat
) -> None:
    """Until it has left the last conversation with them; and never of its own user's."""
    listing_id = await add_listing(server.database_url, chat.landlord)
    async with ClientSession() as http:
        rest = Rest(http, server.base_url)
        opening = {"listing_id": str(listing_id)}
        second = (await rest.post("conversations", chat.tenant, opening)).body["id"]
    admin = await add_person(server.database_url, Role.ADMIN)
    tenants, landlords = (presence_room(person.id) for person in chat.people)
    async with opened(server.base_url, chat.tenant, admin) as (phone, moderator):

        def rooms(device: Device) -> set[str]:
            names = server.node.server.rooms(device.sid)
            return {name for name in names if name.startswith("presence:")}

        for joined in (chat.id, chat.id, second):
            assert (await phone.call("join", {"conversation_id": joined}))["ok"]
            assert rooms(phone) == {landlords}
        for left, remaining in ((chat.id, {landlords}), (second, set[str]())):
            assert (await phone.call("leave", {"conversation_id": left}))["ok"]
            assert rooms(phone) == remaining
        await moderator.call("join", {"conversation_id": chat.id})
        assert rooms(moderator) == {tenants, landlords}
        await moderator.call("leave", {"conversation_id": chat.id})
        assert rooms(moderator) == set()
        stranger = await add_person(server.database_url)
        async with opened(server.base_url, stranger) as (other,):
            await other.call("join", {"conversation_id": chat.id})
            assert rooms(other) == set()


# Sessions


async def test_a_token_for_decades_does_not_overflow_the_timer(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    answer = await phone.call("authenticate", {"token": chat.tenant.token(YEARS)})
    left = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=YEARS - 60) < left < timedelta(seconds=YEARS + 60)
    assert (await phone.call("join", {"conversation_id": chat.id}))["ok"]


async def test_a_token_in_its_leeway_opens_a_socket_until_the_leeways_end(
    database_url: str,
) -> None:
    person = await add_person(database_url)
    async with running_server(database_url, jwt__leeway=2.0) as server, ClientSession() as http:
        device = None
        while device is None:
            with suppress(ConnectionRefusedError):  # already too late
                device = await Device.open(http, server.base_url, person, person.token(-1.0))
        assert (await device.heard("error"))[0]["code"] == "token_expired"
        await device.close()


@own_server
async def test_a_new_token_may_bring_a_new_role(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    system = {"conversation_id": chat.id, "content": "hello", "message_type": "system"}
    assert (await phone.call("message", system))["error"]["code"] == "forbidden"
    assert await metric(server, 'websocket_connections_total{user_role="client"}') == 1
    promoted = Person(chat.tenant.id, Role.SERVICE)
    assert (await phone.call("authenticate", {"token": promoted.token()}))["ok"]
    assert (await phone.call("message", system))["ok"]
    assert await metric(server, 'websocket_connections_total{user_role="client"}') == 0
    assert await metric(server, 'websocket_connections_total{user_role="service"}') == 1


async def test_who_is_removed_is_told_and_hears_nothing_more(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    """Nor do the others hear any more whether they are there."""
    agent = await add_person(server.database_url, Role.AGENT)
    member_ids = {"conversation_id": chat.id}
    members, host = server.node.members, principal(uuid4(), Role.SERVICE)
    assert (await phone.call("message", {**member_ids, "content": "Hello"}))["ok"]
    async with opened(server.base_url, agent, chat.landlord) as (theirs, desk):
        await members.put(host, UUID(chat.id), agent.id, MemberRole.AGENT)
        (told,) = await theirs.heard("conversation")
        assert [each["role"] for each in told["participants"]] == ["client", "owner", "agent"]
        for device in (theirs, desk, phone):
            assert (await device.call("join", member_ids))["ok"]
        await members.remove(host, UUID(chat.id), agent.id)
        _, told = await theirs.heard("conversation", 2)
        assert [each["role"] for each in told["participants"]] == ["client", "owner"]
        (sid,) = (sid for user, sid in server.node.open_sessions.open_sockets() if user == agent.id)
        await eventually(lambda: set(server.node.server.rooms(sid)) == {sid, user_room(agent.id)})
        await eventually(lambda: presence_room(agent.id) not in rooms_of(server, chat.landlord))
        for event, payload in (("typing", {"is_typing": True}), ("message", {"content": "hello"})):
            assert (await desk.call(event, {**member_ids, **payload}))["ok"]
            answer = await theirs.call(event, {**member_ids, **payload})
            assert answer["error"]["code"] == "not_found"
        await phone.heard("message", 2)
        assert not theirs.of("message")
        assert not theirs.of("typing")


def rooms_of(server: RunningServer, person: Person) -> set[str]:
    sockets = server.node.open_sessions.open_sockets()
    return {
        room for user, sid in sockets if user == person.id for room in server.node.server.rooms(sid)
    }


@own_server
async def test_sockets_leave_nothing_behind(server: RunningServer, chat: Chat) -> None:
    node = server.node
    async with opened(server.base_url, *chat.people * 5) as devices:
        for device in devices:
            assert (await device.call("join", {"conversation_id": chat.id}))["ok"]
            typing = {"conversation_id": chat.id, "is_typing": True}
            assert (await device.call("typing", typing))["ok"]
        sockets = {(person.id, device.sid) for person, device in zip(
            chat.people * 5, devices, strict=True)}  # fmt: skip
        assert set(node.open_sessions.open_sockets()) == sockets
        assert await metric(server, "websocket_connections_total") == 10
        assert await metric(server, 'chat_engineio_connections{transport="websocket"}') == 10
    await eventually(lambda: not node.open_sessions.open_sockets())
    await eventually(lambda: not node.sockets.engine.sockets)
    assert await metric(server, "websocket_connections_total") == 0
    assert not node.sockets.adapter.list_clients()
    assert await metric(server, "chat_engineio_connections") == 0


@own_server
async def test_events_are_counted_by_name_and_result(
    server: RunningServer, chat: Chat, phone: Device
) -> None:
    await phone.call("join", {"conversation_id": chat.id})
    await phone.call("join", {"conversation_id": 7})
    for name in ("one", "two"):
        await phone.call(name * 100, {})

    async def count(event: str, result: str) -> float:
        return await metric(server, f'chat_events_total{{event="{event}",result="{result}"}}')

    assert await count("join", "ok") == 1
    assert await count("join", "invalid_payload") == 1
    assert await count("unknown", "unknown_event") == 2
    assert await metric(server, 'websocket_errors_total{error_type="unknown_event"}') == 2
    assert await metric(server, 'chat_send_seconds_count{transport="socket"}') == 0
