"""Endpoints for the host's back end and operators: revocations and notices."""

from typing import Final

from aiohttp import hdrs, web

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.api.routes import CONTROL, LOCATION, Answer, Route
from chatserver.schemas.notices import AcceptedSchema, NoticeBody
from chatserver.schemas.revocations import RevocationBody, RevocationSchema, dump_revocation


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


ROUTES: Final = (
    Route(
        "POST",
        "/api/chat/revocations",
        add_revocation,
        (
            Answer(
                201,
                RevocationSchema,
                description="Refused here from now on, on every other node within 5 s; "
                "open sockets are closed.",
                headers=(LOCATION,),
            ),
            Answer(
                200,
                RevocationSchema,
                description="It was revoked before; a user's now includes what was issued since.",
            ),
        ),
        "Refuse a token, or all tokens that a user has (service and admin alone)",
        CONTROL,
        body=RevocationBody,
    ),
    Route(
        "DELETE",
        "/api/chat/revocations/{revocation_id}",
        lift_revocation,
        (Answer(204, description="The tokens are accepted again, everywhere within 5 s."),),
        "Lift a revocation (service and admin alone)",
        CONTROL,
    ),
    Route(
        "POST",
        "/api/chat/notices",
        send_notice,
        (
            Answer(
                202,
                AcceptedSchema,
                description="Sent to who is connected; nothing is stored or repeated.",
            ),
        ),
        "Send a notice to everybody's devices, or some users' (service and admin alone)",
        CONTROL,
        body=NoticeBody,
    ),
)
