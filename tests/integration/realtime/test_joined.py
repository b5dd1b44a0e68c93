"""Joined conversations: their sockets follow who is in them, also without the database."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from aiohttp import ClientSession
from sqlalchemy import event

from chatserver.events import ConversationChanged
from chatserver.models import MemberRole, Participant, Role
from chatserver.realtime.room_names import presence_room, user_room
from tests.integration.realtime.test_namespace import rooms_of
from tests.kit.app import add_person, running_server
from tests.kit.clients import Rest, open_chat, opened
from tests.kit.raw import RawDevice
from tests.kit.services import principal
from tests.kit.waiting import eventually


async def test_while_no_connection_is_free_the_event_says_who_is_in_it(database_url: str) -> None:
    settings = {"database__pool_size": 1, "database__pool_timeout": 0.1}
    async with running_server(database_url, **settings) as server, ClientSession() as http:
        chat = await open_chat(Rest(http, server.base_url), database_url)
        admin, agent = await add_person(database_url, Role.ADMIN), uuid4()
        caller = principal(chat.tenant.id)
        seen = await server.node.conversations.get(caller, UUID(chat.id))
        tenant, landlord = seen.participants
        more = replace(landlord, user_id=agent, role=MemberRole.AGENT)
        async with opened(server.base_url, chat.landlord, admin) as devices:
            for device in devices:
                assert (await device.call("join", {"conversation_id": chat.id}))["ok"]

            async def told(*participants: Participant) -> list[set[str]]:
                """The rooms once nobody is looked up any more."""
                view = replace(seen, participants=participants)
                changed = ConversationChanged({chat.landlord.id: view}, view)
                server.node.publisher.publish(changed)
                await eventually(lambda: not len(server.node.publisher))
                await eventually(lambda: not server.node.namespace._joined._tasks)
                return [rooms_of(server, person) for person in (chat.landlord, admin)]

            desk, moderator = (rooms_of(server, person) for person in (chat.landlord, admin))
            theirs = {presence_room(agent)}
            async with server.node.requests.reads():
                assert await told(tenant, landlord, more) == [desk | theirs, moderator | theirs]
                assert await told(tenant, landlord) == [desk, moderator]
                only = {devices[0].sid, user_room(chat.landlord.id)}
                assert await told(tenant) == [only, moderator - {presence_room(chat.landlord.id)}]


async def test_members_are_read_once_for_all_sockets_that_a_change_is_told_to(
    database_url: str,
) -> None:
    async with running_server(database_url) as server, ClientSession() as http:
        chat = await open_chat(Rest(http, server.base_url), database_url)
        agent, host = await add_person(database_url), principal(uuid4(), Role.SERVICE)
        async with opened(server.base_url, *chat.people * 3) as devices:
            said = {"conversation_id": chat.id, "content": "Hello"}
            assert (await devices[0].call("message", said))["ok"]
            for device in devices:
                assert (await device.call("join", {"conversation_id": chat.id}))["ok"]
            reads: list[str] = []

            def note(*execution: Any) -> None:
                task = asyncio.current_task()
                assert task is not None
                reads.append(task.get_coro().__qualname__)  # type: ignore[union-attr]

            engine = server.node.database.engine.sync_engine
            event.listen(engine, "before_cursor_execute", note)
            try:
                await server.node.members.put(host, UUID(chat.id), agent.id, MemberRole.AGENT)
                await eventually(lambda: not len(server.node.publisher))
                await eventually(lambda: not server.node.namespace._joined._tasks)
            finally:
                event.remove(engine, "before_cursor_execute", note)
            assert reads.count("JoinedRooms._follow") == 1
            for device in devices:
                assert presence_room(agent.id) in server.node.server.rooms(device.sid)


async def test_a_raw_websocket_ends_when_its_conversation_is_no_longer_the_users(
    database_url: str,
) -> None:
    async with running_server(database_url) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        agent, host = await add_person(database_url), principal(uuid4(), Role.SERVICE)
        await server.node.members.put(host, UUID(chat.id), agent.id, MemberRole.AGENT)
        people = (agent, chat.tenant)
        theirs, tenants = [
            await RawDevice.open(http, server.base_url, chat, each) for each in people
        ]
        for device in (theirs, tenants):
            await device.send(type="message", content="Hello")
            await device.heard("message")
        await server.node.members.remove(host, UUID(chat.id), agent.id)
        frames, code = await theirs.ended()
        assert (frames[-1]["type"], frames[-1]["data"]["code"]) == ("error", "not_found")
        assert code == 1008
        await tenants.send(type="message", content="They have gone.")
        await tenants.until(
            lambda raw: raw.of("message")[-1]["data"]["content"] == "They have gone."
        )
        await tenants.close()
