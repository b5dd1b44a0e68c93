"""Settings that a page needs before it lets somebody write."""

from typing import Final

from aiohttp import hdrs, web
from marshmallow import fields

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.api.routes import USERS, Answer, Route
from chatserver.schemas.base import Integer, Schema

MAX_AGE: Final = 60
"""Seconds for which anybody may keep the answer: it changes only with a restart."""


class ConfigSchema(Schema):
    max_length = Integer(required=True, metadata={"description": "Of a text, in characters"})
    edit_window = fields.Float(
        required=True, metadata={"description": "Seconds for which a message may be edited"}
    )
    max_packet_bytes = Integer(
        required=True, metadata={"description": "Of what a socket may send at once"}
    )


async def get_config(api: Api, _: Call) -> web.Response:
    """The same for everybody, and no secret."""
    response = json_response(
        {
            "max_length": api.settings.messages.max_length,
            "edit_window": api.settings.messages.edit_window,
            "max_packet_bytes": api.settings.realtime.max_packet_bytes,
        }
    )
    response.headers[hdrs.CACHE_CONTROL] = f"public, max-age={MAX_AGE}"
    return response


ROUTES: Final = (
    Route(
        "GET",
        "/api/chat/config",
        get_config,
        (Answer(200, ConfigSchema, description="The same for everybody."),),
        "Limits that a page must know",
        USERS,
        is_public=True,
    ),
)
