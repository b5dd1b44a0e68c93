"""SIGTERM to a real process: what is in flight is answered, and nothing is half done."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import ClientError, ClientSession

from chatserver.dev.ports import free_port
from tests.kit.app import add_person
from tests.kit.clients import TIMEOUT, Rest, open_chat, opened
from tests.kit.loads import Load, over_rest, over_socket, stored_keys
from tests.kit.processes import ServerProcess, serving
from tests.kit.services import connected, until_someone_waits
from tests.kit.waiting import eventually


async def probe(server: ServerProcess, said: list[bool]) -> None:
    """Whether /readyz says that it drains, again and again, until nobody answers any more."""
    while True:
        try:
            async with ClientSession() as http:  # As a load balancer's probe: on its own.
                answer = await Rest(http, server.base_url).get("/readyz")
        except ClientError:
            return
        is_draining = answer.body["checks"]["draining"]
        assert answer.status == 503 or not is_draining
        said.append(is_draining)
        await asyncio.sleep(0.02)


async def test_under_load_it_first_turns_unready_and_then_answers_all_it_took(
    database_url: str, tmp_path: Path
) -> None:
    load, said = Load(), list[bool]()
    async with (
        serving(database_url, free_port(), tmp_path, server__drain_delay=30.0) as server,
        ClientSession() as http,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, *[chat.tenant] * 4) as devices:
            sends = [over_socket(device, chat) for device in devices]
            sends += [over_rest(rest, chat)] * 4
            senders = [asyncio.create_task(load.keep_sending(send)) for send in sends]
            probing = asyncio.create_task(probe(server, said))
            await eventually(lambda: bool(said and load.stored), TIMEOUT)
            server.terminate()
            await eventually(lambda: said[-1], TIMEOUT)
            before = len(load.stored)
            await eventually(lambda: len(load.stored) > before, TIMEOUT)
            server.terminate()  # this was enough of the delay
            assert await server.exit_code() == 0
            await asyncio.gather(*senders)
            await probing
    # Ready, then not ready, and still answering in between.
    assert said == sorted(said)
    assert set(said) == {False, True}
    assert load.refused == {}
    # Whoever got no answer sent too late to be heard: there is nothing in doubt.
    assert await stored_keys(database_url) == load.stored


async def test_what_waits_for_the_database_is_still_answered(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serving(database_url, free_port(), tmp_path) as server,
        ClientSession() as http,
        connected(database_url) as locking,
        connected(database_url) as looking,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        async with opened(server.base_url, chat.tenant, chat.landlord) as devices:
            sends = [over_socket(device, chat) for device in devices] + [over_rest(rest, chat)]
            async with locking.transaction():
                await locking.execute(
                    "SELECT FROM chat.conversations WHERE id = $1 FOR UPDATE", chat.id
                )
                keys = [str(uuid4()) for _ in sends]
                answers = [
                    asyncio.create_task(send(key)) for send, key in zip(sends, keys, strict=True)
                ]
                await until_someone_waits(looking)
                server.terminate()
                await server.wait_draining()
                assert not any(answer.done() for answer in answers)
            assert await asyncio.gather(*answers) == [None] * len(answers)
            assert await server.exit_code() == 0
            # The clients are let go in a way that brings them back by themselves.
            for device in devices:
                await asyncio.wait_for(device.is_closed.wait(), TIMEOUT)
    assert await stored_keys(database_url) == set(keys)


async def test_clients_that_say_nothing_do_not_hold_up_the_end(
    database_url: str, tmp_path: Path
) -> None:
    person = await add_person(database_url)
    head = (
        "POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {person.token()}\r\n"
    )
    grace = {"server__shutdown_grace": 2.0}
    async with serving(database_url, free_port(), tmp_path, **grace) as server:
        port = int(server.base_url.rpartition(":")[2])
        writers = []
        for words in ("", head, f"{head}\r\n{{"):  # nothing, half a head, half a body
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(words.encode())
            await writer.drain()
            writers.append(writer)
        async with ClientSession() as http:
            url = f"{server.base_url}/socket.io/?EIO=4&transport=websocket"
            silent = await http.ws_connect(url)
            server.terminate()
            assert await server.exit_code() == 0
            await silent.close()
        for writer in writers:
            writer.close()


async def test_logs_are_lines_of_json_that_tell_who_but_never_what(
    database_url: str, tmp_path: Path
) -> None:
    text = "a confidential remark"
    async with (
        serving(database_url, free_port(), tmp_path, logging__level="debug") as server,
        ClientSession() as http,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        token = chat.tenant.token()
        async with opened(server.base_url, chat.tenant, chat.landlord) as (phone, desk):
            payload: dict[str, Any] = {"conversation_id": chat.id, "content": text}
            sent = (await phone.call("message", payload))["message"]
            assert (await rest.send(chat.landlord, chat.id, content=text)).status == 201
            edit = {"message_id": sent["id"], "content": f"{text}!"}
            assert (await phone.call("edit", edit))["ok"]
            assert not (await phone.call("edit", {**edit, "content": text * 1000}))["ok"]
            assert not (await desk.call("message", {**payload, "client_msg_id": text}))["ok"]
            assert (await phone.call("authenticate", {"token": token}))["ok"]
            assert not (await phone.call("authenticate", {"token": f"{token}x"}))["ok"]
        for url in (
            f"/socket.io/?EIO=4&transport=polling&token={token}",
            f"/api/chat/unread-count?token={token}",
        ):
            await rest.call("GET", url)
        answer = await rest.call(
            "GET", "unread-count", chat.tenant, headers={"X-Request-ID": "mine.1"}
        )
        assert answer.headers["X-Request-ID"] == "mine.1"
        server.terminate()
        assert await server.exit_code() == 0
        records = [orjson.loads(line) for line in server.log.splitlines()]
        assert token.split(".")[1] not in server.log
        assert token.split(".")[2] not in server.log
        assert "confidential" not in server.log
    assert all({"event", "level", "logger", "timestamp"} <= record.keys() for record in records)
    by_event: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_event.setdefault(record["event"], []).append(record)
    assert all(record["request_id"] for record in by_event["request"])
    assert by_event["request"][-1]["request_id"] == "mine.1"
    sids = {phone.sid, desk.sid}
    for event in ("socket_opened", "socket_closed"):
        assert {record["socket_id"] for record in by_event[event]} == sids
    assert [by_event[event][0]["level"] for event in ("serving", "draining", "stopped")] == (
        ["info"] * 3
    )
