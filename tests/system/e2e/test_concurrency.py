"""Many at once through the real server: one order, nothing twice, counters that are right."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from chatserver.db.engine import Database, create_engine
from tests.kit.app import RunningServer, add_person, running_server
from tests.kit.clients import Chat, Device, Rest, open_chat, opened
from tests.kit.recount import find_faults


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_url, database__pool_timeout=10.0) as server:
        yield server


@pytest.fixture
async def rest(server: RunningServer) -> AsyncIterator[Rest]:
    async with ClientSession() as http:
        yield Rest(http, server.base_url)


@pytest.fixture
async def chat(server: RunningServer, rest: Rest) -> Chat:
    return await open_chat(rest, server.database_url)


async def assert_right(database_url: str) -> None:
    """Every counter and cursor equals what a recount finds."""
    database = Database(create_engine(database_url, pool_size=1))
    try:
        assert await find_faults(database) == {}
    finally:
        await database.dispose()


async def test_fifty_repeats_of_one_send_at_once_are_one_message(
    server: RunningServer, rest: Rest, chat: Chat
) -> None:
    body = {"content": "hello", "client_msg_id": str(uuid4())}

    async def over_rest() -> tuple[str, bool]:
        answer = await rest.send(chat.tenant, chat.id, **body)
        assert answer.status in (200, 201)
        return answer.body["id"], answer.status == 200

    async def over_socket(device: Device) -> tuple[str, bool]:
        answer = await device.call("message", {"conversation_id": chat.id, **body})
        return answer["message"]["id"], answer["duplicate"]

    async with opened(server.base_url, *[chat.tenant] * 5, chat.landlord) as devices:
        *senders, watcher = devices
        sends = [over_rest() for _ in range(25)]
        sends += [over_socket(sender) for sender in senders for _ in range(5)]
        answers = await asyncio.gather(*sends)
        for device in devices:
            assert (await device.call("settle", {}))["error"]["code"] == "unknown_event"
        assert [len(device.of("message")) for device in devices] == [1] * len(devices)
        assert watcher.of("message")[0]["seq"] == 1
        assert [unread["unread_count"] for unread in watcher.of("unread")] == [1]
    assert len({message_id for message_id, _ in answers}) == 1
    assert [is_duplicate for _, is_duplicate in answers].count(False) == 1
    history = (await rest.get(f"conversations/{chat.id}/messages", chat.landlord)).body
    assert [(message["seq"], message["id"]) for message in history] == [(1, answers[0][0])]
    await assert_right(server.database_url)


async def test_repeats_with_another_body_at_once_are_one_message_and_conflicts(
    server: RunningServer, rest: Rest, chat: Chat
) -> None:
    key = str(uuid4())
    answers = await asyncio.gather(
        *(
            rest.send(chat.tenant, chat.id, content=f"text {number % 2}", client_msg_id=key)
            for number in range(20)
        )
    )
    stored = [answer.body["content"] for answer in answers if answer.status in (200, 201)]
    refused = [answer for answer in answers if answer.status == 409]
    assert (len(stored), len(set(stored)), len(refused)) == (10, 1, 10)
    assert {answer.body["code"] for answer in refused} == {"idempotency_conflict"}
    await assert_right(server.database_url)


async def test_five_hundred_sends_from_both_sides_have_one_order_for_everyone(
    server: RunningServer, rest: Rest, chat: Chat
) -> None:
    total = 500

    async def send(number: int, device: Device) -> tuple[int, str]:
        payload = {
            "conversation_id": chat.id, "content": f"{number}", "client_msg_id": str(uuid4()),
        }  # fmt: skip
        message = (await device.call("message", payload))["message"]
        return message["seq"], message["content"]

    people = [chat.tenant, chat.landlord] * 3
    async with opened(server.base_url, *people) as devices:
        sent = await asyncio.gather(
            *(send(number, devices[number % len(devices)]) for number in range(total))
        )
        for device in devices:
            await device.heard("message", total)
            assert (await device.call("settle", {}))["error"]["code"] == "unknown_event"
        logs = [
            [(message["seq"], message["content"]) for message in device.of("message")]
            for device in devices
        ]
    assert sorted(seq for seq, _ in sent) == list(range(1, total + 1))
    assert logs == [sorted(sent)] * len(devices)
    # One socket's sends keep the order in which it made them.
    for first in range(len(people)):
        own = [seq for seq, _ in sent[first :: len(people)]]
        assert own == sorted(own)
    await assert_right(server.database_url)


async def test_sends_reads_edits_and_deletions_at_once_leave_right_counters(
    server: RunningServer, rest: Rest, chat: Chat
) -> None:
    async def write(device: Device) -> None:
        for number in range(15):
            payload = {"conversation_id": chat.id, "content": f"text {number}"}
            sent = (await device.call("message", payload))["message"]
            target = {"message_id": sent["id"]}
            if number % 3 == 0:
                assert (await device.call("edit", {**target, "content": "edited"}))["ok"]
            if number % 4 == 0:
                assert (await device.call("delete", target))["ok"]

    async def follow(device: Device) -> None:
        """Confirm and read what arrives, until all is there."""
        for count in range(1, 61, 4):
            seq = (await device.heard("message", count))[count - 1]["seq"]
            position = {"conversation_id": chat.id, "seq": seq}
            assert (await device.call("delivered", position))["ok"]
            assert (await device.call("read", position))["ok"]

    people = [chat.tenant, chat.landlord] * 2
    async with opened(server.base_url, *people) as devices:
        await asyncio.gather(*map(write, devices), *map(follow, devices))
        for device in devices:
            assert (await device.call("settle", {}))["error"]["code"] == "unknown_event"
        for device, person in zip(devices, people, strict=True):
            fresh = (await rest.get(f"conversations/{chat.id}", person)).body
            # Each change was told once; events of two kinds may overtake each other.
            revs = [payload["rev"] for _, payload in device.events if "seq" in payload]
            assert sorted(revs) == list(range(1, fresh["rev"] + 1))
    await assert_right(server.database_url)


async def test_one_listing_opened_by_many_requests_at_once_is_one_conversation(
    server: RunningServer, rest: Rest, chat: Chat
) -> None:
    tenant = await add_person(server.database_url)
    body = {"listing_id": str(chat.listing_id)}
    async with opened(server.base_url, tenant, tenant) as devices:
        answers = await asyncio.gather(
            *(rest.post("conversations", tenant, body) for _ in range(12))
        )
        for device in devices:
            await device.heard("conversation")
            assert (await device.call("settle", {}))["error"]["code"] == "unknown_event"
            assert len(device.of("conversation")) == 1
    assert sorted(answer.status for answer in answers) == [200] * 11 + [201]
    assert len({answer.body["id"] for answer in answers}) == 1
