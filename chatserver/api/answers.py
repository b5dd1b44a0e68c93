"""Answers: JSON bodies, and the link to the next page of a list."""

from typing import Any

import orjson
from aiohttp import hdrs, web

_PAGE = ("skip", "cursor", "before", "before_seq", "after_seq")


def json_response(data: Any, *, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(data), status=status, content_type="application/json", charset="utf-8"
    )


def next_page(response: web.Response, request: web.Request, **position: Any) -> None:
    """Point to the page that begins at `position`, the request's other parameters kept."""
    url = request.rel_url.without_query_params(*_PAGE).update_query(
        {name: str(value) for name, value in position.items()}
    )
    response.headers[hdrs.LINK] = f'<{url}>; rel="next"'
