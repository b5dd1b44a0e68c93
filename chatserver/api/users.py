"""Users over REST: who is online, and what the caller has not read or not seen."""

from aiohttp import web

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.schemas.objects import dump_presence
from chatserver.schemas.sync import dump_sync


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
