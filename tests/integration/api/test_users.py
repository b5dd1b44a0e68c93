"""Users over REST."""

from chatserver.dev.demo import ADMIN, LANDLORD, SECOND_TENANT, TENANT
from tests.integration.api.rest import API, Rest, unknown_id


async def test_presence_is_shown_to_those_who_share_a_conversation(rest: Rest) -> None:
    await rest.open()
    reply = await rest.get(f"{API}/users/{LANDLORD.id}/presence")
    assert reply.status == 200
    assert reply.json == {"user_id": str(LANDLORD.id), "is_online": False, "last_seen_at": None}
    await rest.node.presence.connected(LANDLORD.id, "socket")
    await rest.node.presence.close()
    online = (await rest.get(f"{API}/users/{LANDLORD.id}/presence")).json
    assert online["is_online"] is True
    assert online["last_seen_at"] is not None


async def test_presence_of_anybody_else_is_not_found(rest: Rest) -> None:
    await rest.open()
    for user_id in (SECOND_TENANT.id, unknown_id()):
        reply = await rest.get(f"{API}/users/{user_id}/presence")
        assert reply.outcome == (404, "not_found")
    assert (await rest.get(f"{API}/users/{SECOND_TENANT.id}/presence", user=ADMIN)).status == 200


async def test_the_unread_count_is_over_all_conversations(rest: Rest) -> None:
    first = await rest.open()
    second = await rest.open(await rest.add_listing())
    for conversation in (first, first, second):
        await rest.send(conversation)
    await rest.send(second, user=LANDLORD)
    counts = [
        (await rest.get(f"{API}/unread-count", user=user)).json["unread_count"]
        for user in (TENANT, LANDLORD, SECOND_TENANT)
    ]
    assert counts == [1, 3, 0]
