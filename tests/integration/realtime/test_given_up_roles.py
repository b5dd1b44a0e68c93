"""A socket whose role was given up: it hears of its own conversations alone."""

from aiohttp import ClientSession

from chatserver.models import Role
from chatserver.realtime.room_names import presence_room
from tests.kit.app import Person, RunningServer, add_listing, add_person, running_server
from tests.kit.clients import Rest, open_chat, opened


async def test_an_admins_socket_that_goes_on_as_a_client_hears_nothing_more_of_others(
    database_url: str,
) -> None:
    async with running_server(database_url) as server, ClientSession() as http:
        rest = Rest(http, server.base_url)
        chat = await open_chat(rest, database_url)
        admin = await add_person(database_url, Role.ADMIN)
        listing = await add_listing(database_url, chat.landlord)
        opening = await rest.post(
            "conversations", admin, {"listing_id": str(listing), "client_user_id": str(admin.id)}
        )
        own, foreign = {"conversation_id": opening.body["id"]}, {"conversation_id": chat.id}
        async with opened(server.base_url, admin, chat.tenant, chat.landlord) as devices:
            desk, tenant, landlord = devices
            for device in devices:
                assert (await device.call("join", foreign))["ok"]
            for device in (desk, landlord):
                assert (await device.call("join", own))["ok"]
            assert (await tenant.call("typing", {**foreign, "is_typing": True}))["ok"]
            await desk.heard("typing")
            down = Person(admin.id, Role.CLIENT).token()
            assert (await desk.call("authenticate", {"token": down}))["ok"]
            desk.events.clear()
            answer = await desk.call("typing", {**foreign, "is_typing": True})
            assert answer["error"]["code"] == "not_found"
            for conversation in (foreign, own):
                assert (await landlord.call("typing", {**conversation, "is_typing": True}))["ok"]
            told = await desk.heard("typing")
            assert [each["conversation_id"] for each in told] == [own["conversation_id"]]
            assert presence_of(server, admin) == {presence_room(chat.landlord.id)}


def presence_of(server: RunningServer, person: Person) -> set[str]:
    """The rooms of the presence of others in which the sockets of `person` are."""
    sockets = server.node.open_sessions.open_sockets()
    rooms = {
        room for user, sid in sockets if user == person.id for room in server.node.server.rooms(sid)
    }
    return {room for room in rooms if room.startswith(presence_room(""))}
