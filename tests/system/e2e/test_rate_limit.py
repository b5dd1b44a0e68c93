"""Sixty messages a minute for a user, over all their sockets and REST."""

import asyncio
from typing import Any

from aiohttp import ClientSession

from chatserver.models import Role
from tests.kit.app import Person, add_person, running_server
from tests.kit.clients import TIMEOUT, Answer, Rest, open_chat, opened

A_MINUTE: dict[str, Any] = {"rate_limit__messages": "60/minute"}


async def test_the_sixty_first_message_of_a_minute_is_refused_at_every_edge(
    database_url: str,
) -> None:
    async with running_server(database_url, **A_MINUTE) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        text = {"conversation_id": chat.id, "content": "hello"}
        async with opened(server.base_url, chat.tenant, chat.tenant, chat.landlord) as devices:
            phone, laptop, desk = devices
            for _ in range(20):
                assert (await phone.call("message", text))["ok"]
                assert (await laptop.call("message", text))["ok"]
                assert (await rest.send(chat.tenant, chat.id, content="hello")).status == 201

            for device in (phone, laptop):
                error = (await device.call("message", text))["error"]
                assert (error["code"], error["retryable"]) == ("rate_limited", True)
                assert 0 < error["retry_after"] <= 60
            refused = await rest.send(chat.tenant, chat.id, content="hello")
            assert_limited(refused)
            # Changing headers makes no new user.
            forged = {"X-Forwarded-For": "203.0.113.9"}
            path = f"conversations/{chat.id}/messages"
            assert_limited(await rest.call("POST", path, chat.tenant, {"content": "hello"}, forged))
            # An edit is a message, too; reading and typing are not.
            edit = {"message_id": phone.of("message")[0]["id"], "content": "edited"}
            assert (await phone.call("edit", edit))["error"]["code"] == "rate_limited"
            assert (await phone.call("read", {"conversation_id": chat.id, "seq": 60}))["ok"]
            assert (await phone.call("delete", {"message_id": edit["message_id"]}))["ok"]

            assert (await desk.call("message", text))["message"]["seq"] == 61
        history = (await rest.get(f"{path}?limit=1", chat.landlord)).body
        assert history[0]["seq"] == 61


async def test_a_bad_payload_does_not_count(database_url: str) -> None:
    limit = {"rate_limit__messages": "3/minute"}
    async with running_server(database_url, **limit) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        for _ in range(5):
            assert (await rest.send(chat.tenant, chat.id, content="")).status == 422
        for status in (201, 201, 201, 429):
            assert (await rest.send(chat.tenant, chat.id, content="hello")).status == status


async def test_the_window_slides(database_url: str) -> None:
    limit = {"rate_limit__messages": "2/second"}
    async with running_server(database_url, **limit) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, chat.tenant) as (device,):
            text = {"conversation_id": chat.id, "content": "hello"}
            async with asyncio.timeout(TIMEOUT):
                while True:
                    answers = await asyncio.gather(*(device.call("message", text) for _ in "abc"))
                    if not all(answer["ok"] for answer in answers):
                        break
                    await asyncio.sleep(1.05)  # they took so long that the window had passed
            assert [answer["ok"] for answer in answers] == [True, True, False]
            await asyncio.sleep(answers[-1]["error"]["retry_after"] + 0.05)
            assert (await device.call("message", text))["ok"]


async def test_the_hosts_own_back_end_is_not_limited_but_an_admin_is(database_url: str) -> None:
    limit = {"rate_limit__messages": "2/minute"}
    async with running_server(database_url, **limit) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)

        async def statuses(sender: Person) -> list[int]:
            body = {"content": "A viewing is booked.", "message_type": "system"}
            return [(await rest.send(sender, chat.id, **body)).status for _ in range(4)]

        assert await statuses(await add_person(database_url, Role.SERVICE)) == [201] * 4
        admin = await add_person(database_url, Role.ADMIN)
        assert await statuses(admin) == [201, 201, 429, 429]


async def test_an_empty_setting_turns_the_limit_off(database_url: str) -> None:
    off = {"rate_limit__messages": ""}
    async with running_server(database_url, **off) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, chat.tenant) as (device,):
            text = {"conversation_id": chat.id, "content": "hello"}
            answers = [await device.call("message", text) for _ in range(90)]
        assert all(answer["ok"] for answer in answers)


def assert_limited(answer: Answer) -> None:
    assert (answer.status, answer.body["code"]) == (429, "rate_limited")
    assert answer.body["retryable"] is True
    # The header is the member, rounded up to whole seconds.
    header = int(answer.headers["Retry-After"])
    assert 0 <= header - answer.body["retry_after"] < 1
    assert 1 <= header <= 60
