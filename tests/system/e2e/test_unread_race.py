"""What the last `unread` says is right, however sends and reads race each other."""

import asyncio

from aiohttp import ClientSession

from tests.kit.app import running_server
from tests.kit.clients import Chat, Device, Rest, open_chat, opened

ROUNDS = 60
CHATS = 6


async def test_the_last_unread_is_right_after_a_send_and_a_read_at_once(database_url: str) -> None:
    async with (
        running_server(database_url, database__pool_timeout=10.0) as server,
        ClientSession() as http,
    ):
        rest = Rest(http, server.base_url)
        chats = [await open_chat(rest, database_url) for _ in range(CHATS)]
        people = [person for chat in chats for person in chat.people]
        async with opened(server.base_url, *people) as devices:
            pairs = zip(chats, devices[::2], devices[1::2], strict=True)
            wrong = await asyncio.gather(*(race(rest, *pair) for pair in pairs))
    assert sum(wrong) == 0


async def race(rest: Rest, chat: Chat, tenant: Device, landlord: Device) -> int:
    """How often what the landlord was told differs from what a fetch answers."""
    wrong = 0
    message = {"conversation_id": chat.id, "content": "x"}
    await tenant.call("message", message)
    for seq in range(1, ROUNDS):
        answers = await asyncio.gather(
            tenant.call("message", message),
            landlord.call("read", {"conversation_id": chat.id, "seq": seq}),
        )
        assert all(answer["ok"] for answer in answers)
        await landlord.call("delivered", {"conversation_id": chat.id, "seq": seq})
        told = landlord.of("unread")[-1]["unread_count"]
        fetched = (await rest.get(f"conversations/{chat.id}", chat.landlord)).body
        wrong += told != fetched["unread_count"]
    return wrong
