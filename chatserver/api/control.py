"""What the host's back end and operators tell the server: whom to refuse, what to announce."""

from aiohttp import hdrs, web

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.schemas.revocations import dump_revocation


async def add_revocation(api: Api, call: Call) -> web.Response:
    revocation, is_new = await api.services.revocations.revoke(call.principal, **call.body)
    response = json_response(dump_revocation(revocation), status=201 if is_new else 200)
    if is_new:
        response.headers[hdrs.LOCATION] = f"{call.request.path}/{revocation.id}"
    return response


async def lift_revocation(api: Api, call: Call) -> web.Response:
    await api.services.revocations.lift(call.principal, call.ids["revocation_id"])
    return web.Response(status=204)


async def send_notice(api: Api, call: Call) -> web.Response:
    api.services.notices.send(call.principal, **call.body)
    return json_response({"status": "accepted"}, status=202)
