"""Endpoints for members of a conversation, and for standing agents of an owner."""

from typing import Final

from aiohttp import web

from chatserver.api.answers import json_response
from chatserver.api.calls import Api, Call
from chatserver.api.routes import CONVERSATIONS, USERS, Answer, Route
from chatserver.errors import TooManyParticipants
from chatserver.schemas.objects import (
    ParticipantSchema,
    UserSchema,
    dump_participant,
    dump_user,
)
from chatserver.schemas.requests import ParticipantBody


async def list_participants(api: Api, call: Call) -> web.Response:
    found = await api.services.members.list(call.principal, call.ids["conversation_id"])
    return json_response([dump_participant(one) for one in found])


async def put_participant(api: Api, call: Call) -> web.Response:
    participant, is_new = await api.services.members.put(
        call.principal, call.ids["conversation_id"], call.ids["user_id"], call.body["role"]
    )
    return json_response(dump_participant(participant), status=201 if is_new else 200)


async def remove_participant(api: Api, call: Call) -> web.Response:
    await api.services.members.remove(
        call.principal, call.ids["conversation_id"], call.ids["user_id"]
    )
    return web.Response(status=204)


async def list_agents(api: Api, call: Call) -> web.Response:
    found = await api.services.members.list_agents(call.principal, call.ids["owner_id"])
    return json_response([dump_user(user) for user in found])


async def put_agent(api: Api, call: Call) -> web.Response:
    user, is_new = await api.services.members.put_agent(
        call.principal, call.ids["owner_id"], call.ids["user_id"]
    )
    return json_response(dump_user(user), status=201 if is_new else 200)


async def remove_agent(api: Api, call: Call) -> web.Response:
    await api.services.members.remove_agent(
        call.principal, call.ids["owner_id"], call.ids["user_id"]
    )
    return web.Response(status=204)


ROUTES: Final = (
    Route(
        "GET",
        "/api/chat/conversations/{conversation_id}/participants",
        list_participants,
        (Answer(200, ParticipantSchema, is_list=True, description="Client and owner first."),),
        "List who is in a conversation",
        CONVERSATIONS,
    ),
    Route(
        "PUT",
        "/api/chat/conversations/{conversation_id}/participants/{user_id}",
        put_participant,
        (
            Answer(201, ParticipantSchema, description="Added; sees the whole history."),
            Answer(200, ParticipantSchema, description="Was in it, and has this role now."),
        ),
        "Add somebody to a conversation, or change their role",
        CONVERSATIONS,
        errors=(TooManyParticipants,),
        body=ParticipantBody,
        cost="member",
    ),
    Route(
        "DELETE",
        "/api/chat/conversations/{conversation_id}/participants/{user_id}",
        remove_participant,
        (Answer(204, description="Out of it, at once; what they wrote stays."),),
        "Remove somebody from a conversation, or leave it",
        CONVERSATIONS,
        cost="member",
    ),
    Route(
        "GET",
        "/api/chat/users/{owner_id}/agents",
        list_agents,
        (Answer(200, UserSchema, is_list=True, description="The longest first."),),
        "List an owner's standing agents (the owner, service and admin)",
        USERS,
    ),
    Route(
        "PUT",
        "/api/chat/users/{owner_id}/agents/{user_id}",
        put_agent,
        (
            Answer(
                201,
                UserSchema,
                description="In every conversation of the owner's that is opened from now on; in"
                " those that there are within a minute.",
            ),
            Answer(200, UserSchema, description="Was one already."),
        ),
        "Make somebody an agent of all of an owner's conversations (the owner, service and admin)",
        USERS,
        errors=(TooManyParticipants,),
        cost="standing_agent",
    ),
    Route(
        "DELETE",
        "/api/chat/users/{owner_id}/agents/{user_id}",
        remove_agent,
        (Answer(204, description="Out of all the owner's conversations within a minute."),),
        "End that somebody is an agent of all of an owner's conversations",
        USERS,
        cost="standing_agent",
    ),
)
