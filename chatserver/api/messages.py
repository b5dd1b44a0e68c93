"""Messages over REST."""

import time
from typing import Final

from aiohttp import web

from chatserver.api.answers import json_response, next_page
from chatserver.api.calls import Api, Call
from chatserver.api.parsing import with_idempotency_key
from chatserver.api.routes import LINK, MESSAGES, Answer, Route
from chatserver.errors import Blocked, IdempotencyConflict
from chatserver.schemas import requests
from chatserver.schemas.objects import MessageSchema, ReadStatusSchema, dump_message
from chatserver.schemas.requests import draft


async def list_messages(api: Api, call: Call) -> web.Response:
    history = await api.services.messages.history(
        call.principal, call.ids["conversation_id"], **call.query
    )
    api.budgets.listed(call.principal, len(history.messages))
    response = json_response([dump_message(message) for message in history.messages])
    if history.has_more:
        is_forward = call.query["after_seq"] is not None
        bound = "after_seq" if is_forward else "before_seq"
        next_page(response, call.request, **{bound: history.messages[-1].seq})
    return response


async def send_message(api: Api, call: Call) -> web.Response:
    sent = await api.services.messages.send(
        call.principal,
        call.ids["conversation_id"],
        draft(with_idempotency_key(call.request, call.body)),
    )
    api.metrics.send_answered("rest", time.perf_counter() - call.started)
    return json_response(dump_message(sent.message), status=200 if sent.is_duplicate else 201)


async def mark_read(api: Api, call: Call) -> web.Response:
    message_id = call.ids["message_id"]
    await api.services.receipts.mark_message_read(call.principal, message_id)
    return json_response({"status": "success", "message_id": str(message_id)})


async def edit_message(api: Api, call: Call) -> web.Response:
    message = await api.services.messages.edit(
        call.principal, call.ids["message_id"], call.body["content"]
    )
    return json_response(dump_message(message))


async def delete_message(api: Api, call: Call) -> web.Response:
    await api.services.messages.delete(call.principal, call.ids["message_id"])
    return web.Response(status=204)


ROUTES: Final = (
    Route(
        "GET",
        "/api/chat/conversations/{conversation_id}/messages",
        list_messages,
        (
            Answer(
                200,
                MessageSchema,
                is_list=True,
                description="Newest first; oldest first with after_seq.",
                headers=(LINK,),
            ),
        ),
        "Page through a conversation's messages",
        MESSAGES,
        query=requests.HistoryQuery,
    ),
    Route(
        "POST",
        "/api/chat/conversations/{conversation_id}/messages",
        send_message,
        (
            Answer(201, MessageSchema, description="Stored, with its number for ever."),
            Answer(
                200,
                MessageSchema,
                description="The first message that was sent with this client_msg_id.",
            ),
        ),
        "Send a message",
        MESSAGES,
        errors=(Blocked, IdempotencyConflict),
        body=requests.MessageBody,
        takes_idempotency_key=True,
    ),
    *(
        Route(
            method,
            "/api/chat/messages/{message_id}/read",
            mark_read,
            (Answer(200, ReadStatusSchema, description="It and every earlier one are read."),),
            "Mark a message and all before it as read",
            MESSAGES,
            variant=variant,
        )
        for method, variant in (("PATCH", ""), ("POST", "_by_post"))
    ),
    Route(
        "PATCH",
        "/api/chat/messages/{message_id}",
        edit_message,
        (Answer(200, MessageSchema, description="The message as it is now."),),
        "Replace the text of the caller's own message",
        MESSAGES,
        body=requests.EditBody,
    ),
    Route(
        "DELETE",
        "/api/chat/messages/{message_id}",
        delete_message,
        (Answer(204, description="Its number stays, its text is gone."),),
        "Delete the caller's own message",
        MESSAGES,
    ),
)
