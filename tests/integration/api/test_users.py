"""Users over REST."""

from chatserver.dev.demo import ADMIN
from tests.integration.api.rest import API, Rest, unknown_id


async def test_presence_is_shown_to_those_who_share_a_conversation(own_rest: Rest) -> None:
    await own_rest.open()
    reply = await own_rest.get(f"{API}/users/{own_rest.landlord.id}/presence")
    assert reply.status == 200
    assert reply.json == {
        "user_id": str(own_rest.landlord.id),
        "is_online": False,
        "last_seen_at": None,
    }
    await own_rest.node.presence.connected(own_rest.landlord.id, "socket")
    await own_rest.node.presence.close()
    online = (await own_rest.get(f"{API}/users/{own_rest.landlord.id}/presence")).json
    assert online["is_online"] is True
    assert online["last_seen_at"] is not None


async def test_presence_of_anybody_else_is_not_found(rest: Rest) -> None:
    await rest.open()
    for user_id in (rest.stranger.id, unknown_id()):
        reply = await rest.get(f"{API}/users/{user_id}/presence")
        assert reply.outcome == (404, "not_found")
    assert (await rest.get(f"{API}/users/{rest.stranger.id}/presence", user=ADMIN)).status == 200


async def test_the_unread_count_is_over_all_conversations(rest: Rest) -> None:
    first = await rest.open()
    second = await rest.open(await rest.add_listing())
    for conversation in (first, first, second):
        await rest.send(conversation)
    await rest.send(second, user=rest.landlord)
    counts = [
        (await rest.get(f"{API}/unread-count", user=user)).json["unread_count"]
        for user in (rest.tenant, rest.landlord, rest.stranger)
    ]
    assert counts == [1, 3, 0]
