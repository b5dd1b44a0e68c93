"""Members over REST: what each route takes, answers and refuses."""

from dataclasses import dataclass
from typing import Any

import pytest

from chatserver.dev.demo import ADMIN, AGENT, SERVICE, DemoUser
from tests.integration.api.rest import API, Rest


@dataclass(frozen=True)
class Place:
    """A conversation of the tenant and the landlord."""

    rest: Rest
    path: str

    def participant(self, user: DemoUser) -> str:
        return f"{self.path}/participants/{user.id}"


@pytest.fixture
async def place(rest: Rest) -> Place:
    body = {"listing_id": rest.listing, "client_user_id": str(rest.tenant.id)}
    opened = await rest.post(f"{API}/conversations", body, user=SERVICE)
    assert opened.status == 201
    assert opened.json["client_user_id"] == str(rest.tenant.id)
    return Place(rest, f"{API}/conversations/{opened.json['id']}")


async def test_a_participant_is_added_listed_and_removed(place: Place) -> None:
    rest, path = place.rest, place.participant(AGENT)
    added = await rest.put(path, {"role": "agent"}, user=rest.landlord)
    again = await rest.put(path, {"role": "agent"}, user=rest.landlord)
    assert (added.status, again.status) == (201, 200)
    assert added.json == again.json
    assert (added.json["user_id"], added.json["role"]) == (str(AGENT.id), "agent")
    listed = await rest.get(f"{place.path}/participants", user=rest.tenant)
    assert [each["role"] for each in listed.json] == ["client", "owner", "agent"]
    assert listed.json[-1] == added.json
    shown = await rest.get(place.path, user=AGENT)
    assert shown.json["participants"] == listed.json
    assert (await rest.delete(path, user=rest.landlord)).status == 204
    assert (await rest.delete(path, user=rest.landlord)).outcome == (404, "not_found")
    assert (await rest.get(place.path, user=AGENT)).outcome == (404, "not_found")


async def test_bad_roles_and_callers_are_refused(place: Place) -> None:
    rest, path = place.rest, place.participant(place.rest.stranger)
    bad: list[Any] = [{}, {"role": "owner"}, {"role": "client"}, {"role": 1}, {"role": "boss"}]
    for body in bad:
        assert (await rest.put(path, body, user=ADMIN)).bad_fields == {"role"}
    assert (await rest.put(path, {"role": "agent"}, user=rest.tenant)).outcome == (403, "forbidden")
    assert (await rest.put(path, {"role": "agent"}, user=AGENT)).outcome == (404, "not_found")
    nobody = f"{place.path}/participants/{place.path[-36:]}"
    assert (await rest.put(nobody, {"role": "agent"}, user=ADMIN)).outcome == (404, "not_found")


async def test_a_conversation_is_assigned_and_closed(place: Place) -> None:
    rest = place.rest
    owner, client = rest.landlord, rest.tenant
    assert (await rest.patch(place.path, {}, user=owner)).outcome == (
        422,
        "invalid_payload",
    )
    reply = await rest.patch(place.path, {"assigned_user_id": str(client.id)}, user=owner)
    assert reply.bad_fields == {"assigned_user_id"}
    assert (await rest.patch(place.path, {"is_active": False}, user=client)).outcome == (
        403, "forbidden",
    )  # fmt: skip
    body = {"assigned_user_id": str(owner.id), "is_active": False}
    reply = await rest.patch(place.path, body, user=owner)
    assert (reply.json["assigned_user_id"], reply.json["is_active"]) == (
        str(owner.id),
        False,
    )
    sent = await rest.post(f"{place.path}/messages", {"content": "hello"}, user=client)
    assert sent.outcome == (403, "forbidden")
    reply = await rest.patch(place.path, {"assigned_user_id": None, "is_active": True}, user=ADMIN)
    assert (reply.json["assigned_user_id"], reply.json["is_active"]) == (None, True)


async def test_lists_take_filters(place: Place) -> None:
    rest, conversations = place.rest, f"{API}/conversations"
    owner, client = rest.landlord, rest.tenant

    async def count(query: str, user: DemoUser | None = None) -> int:
        reply = await rest.get(f"{conversations}?{query}", user=user or owner)
        return len(reply.json)

    await rest.patch(place.path, {"assigned_user_id": str(owner.id)}, user=owner)
    assert [await count(f"assigned={who}") for who in ("me", "none", owner.id, AGENT.id)] == [
        1, 0, 1, 0,
    ]  # fmt: skip
    assert await count(f"listing_id={rest.listing}&is_active=true&unread=false") == 1
    assert await count("is_active=false") == await count("unread=true") == 0
    assert await count(f"listing_id={rest.listing}&user_id={client.id}", SERVICE) == 1
    assert await count("", SERVICE) == 0
    # As that user sees them.
    assert await count(f"assigned=me&user_id={owner.id}", SERVICE) == 1
    assert await count(f"assigned=me&user_id={client.id}", SERVICE) == 0
    for name, value in (("assigned", "you"), ("listing_id", "x"), ("unread", "x")):
        reply = await rest.get(f"{conversations}?{name}={value}", user=owner)
        assert reply.bad_fields == {name}
    others = await rest.get(f"{conversations}?user_id={client.id}", user=owner)
    assert others.outcome == (403, "forbidden")


async def test_the_host_says_for_whom_it_opens(place: Place) -> None:
    rest, conversations = place.rest, f"{API}/conversations"
    body = {"listing_id": rest.listing}
    assert (await rest.post(conversations, body, user=ADMIN)).bad_fields == {"client_user_id"}
    body["client_user_id"] = str(rest.tenant.id)
    assert (await rest.post(conversations, body, user=ADMIN)).status == 200
    assert (await rest.post(conversations, body, user=rest.stranger)).outcome == (403, "forbidden")


async def test_standing_agents_are_made_listed_and_ended(place: Place) -> None:
    rest, agents = place.rest, f"{API}/users/{place.rest.landlord.id}/agents"
    path = f"{agents}/{AGENT.id}"
    made = await rest.put(path, user=rest.landlord)
    assert (made.status, made.json["id"]) == (201, str(AGENT.id))
    assert (await rest.put(path, user=SERVICE)).status == 200
    assert (await rest.get(agents, user=rest.landlord)).json == [made.json]
    for user in (rest.tenant, AGENT):
        assert (await rest.get(agents, user=user)).outcome == (403, "forbidden")
        assert (await rest.put(path, user=user)).outcome == (403, "forbidden")
    assert (await rest.delete(path, user=rest.landlord)).status == 204
    assert (await rest.delete(path, user=rest.landlord)).outcome == (404, "not_found")
    assert (await rest.get(agents, user=SERVICE)).json == []
