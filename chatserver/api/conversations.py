"""Conversations over REST."""

from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from chatserver.api.answers import json_response, next_page
from chatserver.api.calls import Api, Call
from chatserver.api.routes import CONVERSATIONS, LINK, LOCATION, Answer, Route
from chatserver.errors import Blocked, NotFound, OwnListing
from chatserver.models import Filters
from chatserver.schemas import requests
from chatserver.schemas.objects import ConversationSchema, StatusSchema, dump_conversation
from chatserver.schemas.requests import encode_position


async def open_conversation(api: Api, call: Call) -> web.Response:
    conversation, is_new = await api.services.conversations.open(call.principal, **call.body)
    response = json_response(dump_conversation(conversation), status=201 if is_new else 200)
    if is_new:
        api.budgets.charge(call.principal, api.budgets.costs.open_conversation)
        response.headers[hdrs.LOCATION] = f"{call.request.path}/{conversation.id}"
    return response


async def list_conversations(api: Api, call: Call) -> web.Response:
    page = await api.services.conversations.list(
        call.principal,
        limit=call.query["limit"],
        skip=call.query["skip"],
        filters=_filters(call),
        after=call.query["cursor"],
        user_id=call.query["user_id"],
    )
    api.budgets.listed(call.principal, len(page.conversations))
    response = json_response([dump_conversation(item) for item in page.conversations])
    if page.next is not None:
        next_page(response, call.request, cursor=encode_position(page.next))
    return response


def _filters(call: Call) -> Filters:
    query = call.query
    return Filters(
        archived=query["archived"],
        listing_id=query["listing_id"],
        assigned_to=_assigned_to(call),
        is_unassigned=query["assigned"] == "none",
        is_unread=query["unread"],
        is_active=query["is_active"],
    )


def _assigned_to(call: Call) -> UUID | None:
    assigned = call.query["assigned"]
    if assigned == "me":
        return call.query["user_id"] or call.principal.user_id
    return assigned if isinstance(assigned, UUID) else None


async def get_conversation(api: Api, call: Call) -> web.Response:
    conversation = await api.services.conversations.get(call.principal, call.ids["conversation_id"])
    return json_response(dump_conversation(conversation))


async def archive_conversation(api: Api, call: Call) -> web.Response:
    await api.services.conversations.archive(
        call.principal, call.ids["conversation_id"], archived=call.body["archived"]
    )
    return json_response({"status": "success"})


async def update_conversation(api: Api, call: Call) -> web.Response:
    conversation = await api.services.conversations.update(
        call.principal, call.ids["conversation_id"], **call.body
    )
    return json_response(dump_conversation(conversation))


ROUTES: Final = (
    Route(
        "POST",
        "/api/chat/conversations",
        open_conversation,
        (
            Answer(
                201,
                ConversationSchema,
                description="A new conversation, of which the caller, or who `service` and"
                " `admin` name, is the client.",
                headers=(LOCATION,),
            ),
            Answer(200, ConversationSchema, description="The one that exists."),
        ),
        "Open a conversation about a listing",
        CONVERSATIONS,
        errors=(NotFound, OwnListing, Blocked),
        body=requests.OpenConversation,
    ),
    Route(
        "GET",
        "/api/chat/conversations",
        list_conversations,
        (
            Answer(
                200,
                ConversationSchema,
                is_list=True,
                description="Latest activity first.",
                headers=(LINK,),
            ),
        ),
        "List the caller's conversations",
        CONVERSATIONS,
        query=requests.ListQuery,
    ),
    Route(
        "GET",
        "/api/chat/conversations/{conversation_id}",
        get_conversation,
        (Answer(200, ConversationSchema, description="As the caller sees it."),),
        "Get a conversation",
        CONVERSATIONS,
    ),
    Route(
        "PATCH",
        "/api/chat/conversations/{conversation_id}",
        update_conversation,
        (Answer(200, ConversationSchema, description="As the caller sees it now."),),
        "Close a conversation or open it again, and assign it (the owner's side)",
        CONVERSATIONS,
        body=requests.ConversationBody,
        cost="member",
    ),
    Route(
        "PATCH",
        "/api/chat/conversations/{conversation_id}/archive",
        archive_conversation,
        (Answer(200, StatusSchema),),
        "Archive a conversation for the caller's side, or bring it back",
        CONVERSATIONS,
        body=requests.Archive,
        is_body_optional=True,
    ),
)
