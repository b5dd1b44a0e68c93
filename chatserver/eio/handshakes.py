"""Handshake requests: for which transport, and what is kept of them."""

from collections.abc import Mapping

from aiohttp import hdrs, web

Environ = Mapping[str, str]


def wants_websocket(request: web.Request) -> bool:
    upgrade = request.headers.get(hdrs.UPGRADE, "")
    return request.method == hdrs.METH_GET and upgrade.strip().lower() == "websocket"


def environ_of(request: web.Request) -> dict[str, str]:
    """The part of the handshake that a connect handler may ask for, under its WSGI names.

    Nothing is kept but what may be a token: who never connects has it kept until the
    deadline. Of several Authorization headers none is one, as over REST.
    """
    query, tokens = request.query_string, request.headers.getall(hdrs.AUTHORIZATION, ())
    return {
        "QUERY_STRING": query if "token=" in query else "",
        "HTTP_AUTHORIZATION": tokens[0] if len(tokens) == 1 else "",
    }
