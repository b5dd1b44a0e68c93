"""Users over REST: who is online, and what the caller has not read or not seen."""

from typing import Final

from aiohttp import web

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.api.routes import CONVERSATIONS, USERS, Answer, Route
from chatserver.schemas.objects import PresenceSchema, UnreadCountSchema, dump_presence
from chatserver.schemas.sync import SyncQuery, SyncSchema, dump_sync


async def get_presence(api: Api, call: Call) -> web.Response:
    presence = await api.services.presence.get(call.principal, call.ids["user_id"])
    return json_response(dump_presence(presence))


async def get_unread_count(api: Api, call: Call) -> web.Response:
    count = await api.services.receipts.unread_total(call.principal)
    return json_response({"unread_count": count})


async def get_changes(api: Api, call: Call) -> web.Response:
    result = await api.services.sync.sync(call.principal, **call.query, open={})
    api.budgets.synced(call.principal, result)
    return json_response(dump_sync(result))


ROUTES: Final = (
    Route(
        "GET",
        "/api/chat/unread-count",
        get_unread_count,
        (Answer(200, UnreadCountSchema, description="Over all conversations."),),
        "Count what the caller has not read",
        USERS,
    ),
    Route(
        "GET",
        "/api/chat/sync",
        get_changes,
        (Answer(200, SyncSchema, description="A page; ask again while `has_more`."),),
        "Ask what has changed since a cursor",
        CONVERSATIONS,
        cost="sync",
        query=SyncQuery,
    ),
    Route(
        "GET",
        "/api/chat/users/{user_id}/presence",
        get_presence,
        (Answer(200, PresenceSchema, description="Best effort."),),
        "Ask whether somebody whom the caller talks to is online",
        USERS,
    ),
)
