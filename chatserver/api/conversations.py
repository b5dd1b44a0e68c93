"""Conversations over REST."""

from aiohttp import hdrs, web

from chatserver.api.answers import json_response, next_page
from chatserver.api.calls import Api, Call
from chatserver.schemas.objects import dump_conversation
from chatserver.schemas.requests import encode_position


async def open_conversation(api: Api, call: Call) -> web.Response:
    conversation, is_new = await api.services.conversations.open(
        call.principal, call.body["listing_id"]
    )
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
        archived=call.query["archived"],
        after=call.query["cursor"],
    )
    api.budgets.listed(call.principal, len(page.conversations))
    response = json_response([dump_conversation(item) for item in page.conversations])
    if page.next is not None:
        next_page(response, call.request, cursor=encode_position(page.next))
    return response


async def get_conversation(api: Api, call: Call) -> web.Response:
    conversation = await api.services.conversations.get(call.principal, call.ids["conversation_id"])
    return json_response(dump_conversation(conversation))


async def archive_conversation(api: Api, call: Call) -> web.Response:
    await api.services.conversations.archive(
        call.principal, call.ids["conversation_id"], archived=call.body["archived"]
    )
    return json_response({"status": "success"})
