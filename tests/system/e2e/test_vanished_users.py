"""A user whom the host has deleted: 401 at each edge, and never a failure of the server."""

import asyncio

import pytest
from aiohttp import ClientSession

from tests.kit.app import running_server
from tests.kit.clients import Device, Rest, open_chat, opened
from tests.kit.services import connected, until_someone_waits


async def test_a_vanished_users_token_is_good_nowhere_55(database_url: str) -> None:
    async with (
        running_server(database_url, auth__user_cache_ttl=0) as server,
        ClientSession() as http,
        connected(database_url) as busy,
        connected(database_url) as host,
    ):
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        own, message = {"conversation_id": chat.id}, {"content": "under way"}
        first = (await rest.send(chat.tenant, chat.id, content="before")).body
        async with opened(server.base_url, chat.tenant, chat.tenant) as (phone, desk):
            await busy.execute("BEGIN")
            await busy.execute("SELECT FROM chat.conversations FOR UPDATE")
            sends = [
                asyncio.create_task(phone.call("message", {**own, **message})),
                asyncio.create_task(rest.send(chat.tenant, chat.id, **message)),
            ]
            await until_someone_waits(host)
            await host.execute("DELETE FROM core.users WHERE id = $1", chat.tenant.id)
            renewed = await desk.call("authenticate", {"token": chat.tenant.token()})
            assert renewed["error"]["code"] == "unauthorized"
            await busy.execute("ROLLBACK")
            socket, posted = await asyncio.gather(*sends)
            # Looked at before the user went, or after.
            assert socket["ok"] or socket["error"]["code"] == "unauthorized"
            assert posted.status in (201, 401)
        calls = {
            ("GET", "conversations"): None,
            ("POST", "conversations"): {"listing_id": str(chat.listing_id)},
            ("GET", f"conversations/{chat.id}"): None,
            ("POST", f"conversations/{chat.id}/messages"): message,
            ("PATCH", f"messages/{first['id']}"): message,
            ("DELETE", f"messages/{first['id']}"): None,
            ("GET", "sync"): None,
            ("GET", "unread-count"): None,
        }
        for (method, path), body in calls.items():
            answer = await rest.call(method, path, chat.tenant, body)
            assert answer.status == 401, (method, path)
        with pytest.raises(ConnectionRefusedError) as refused:
            await Device.open(http, server.base_url, chat.tenant)
        assert refused.value.args[0]["code"] == "unauthorized"
        # Who is left has all of it.
        stored = (await rest.get(f"conversations/{chat.id}/messages", chat.landlord)).body
        assert len(stored) == 1 + socket["ok"] + (posted.status == 201)
        view = (await rest.get(f"conversations/{chat.id}", chat.landlord)).body
        assert view["client"] == {
            "id": str(chat.tenant.id),
            "first_name": None,
            "last_name": None,
            "profile_picture_url": None,
        }
