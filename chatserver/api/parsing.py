"""Reads requests: query, JSON body, path ids and the two headers that carry values."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

import orjson
from aiohttp import hdrs, web
from marshmallow import Schema, ValidationError
from webargs.aiohttpparser import AIOHTTPParser
from webargs.core import missing

from chatserver.errors import InvalidPayload, NotFound, PayloadTooLarge, UnsupportedMedia
from chatserver.schemas.base import flatten

IDEMPOTENCY_KEY = "Idempotency-Key"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class RequestParser(AIOHTTPParser):
    """Loads a request's query or body by a schema, or raises InvalidPayload.

    What the schema does not name is an error in either place.
    """

    DEFAULT_UNKNOWN_BY_LOCATION = {"query": None, "json": None}  # noqa: RUF012

    def __init__(self, *, max_body_bytes: int, body_timeout: float) -> None:
        """A body is at most `max_body_bytes` long and arrives within `body_timeout` seconds."""
        super().__init__()
        self._max_body_bytes = max_body_bytes
        self._body_timeout = body_timeout

    def load_querystring(self, req: web.Request, schema: Schema) -> Any:
        """The query, in which each parameter may be given once."""
        repeated = {name for name in req.query if len(req.query.getall(name)) > 1}
        if repeated:
            raise ValidationError({name: ["May be given only once."] for name in repeated})
        return dict(req.query)

    async def load_json(self, req: web.Request, schema: Schema) -> Any:
        """The body as JSON; an empty one, of whatever type, is an empty object.

        NaN, numbers that overflow, lone surrogates, a depth above 1024 and text that
        is not UTF-8 are no JSON. Of duplicate keys the last one counts.

        Raises PayloadTooLarge, UnsupportedMedia, InvalidPayload, and HTTPRequestTimeout
        for a body that does not arrive in time.
        """
        body = await self._read(req)
        if not body:
            # Many clients name a type even where they send nothing.
            return missing
        _check_media_type(req)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise InvalidPayload("The body is not valid JSON.", fields={}) from None

    async def _read(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._body_timeout):
                return await read_body(request, self._max_body_bytes)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None

    def handle_error(
        self, error: ValidationError, req: web.Request, schema: Schema, **_: Any
    ) -> NoReturn:
        # webargs puts the messages under the name of the place that they are about.
        assert isinstance(error.messages, dict)
        (messages,) = error.messages.values()
        raise InvalidPayload(fields=flatten(messages)) from None


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, decompressed; no more than `max_bytes` of it are ever held.

    Raises PayloadTooLarge, InvalidPayload for a broken encoding, and ConnectionError
    when the client is gone.
    """
    if (request.content_length or 0) > max_bytes:
        raise PayloadTooLarge
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > max_bytes:
                raise PayloadTooLarge
    except web.RequestPayloadError:
        raise InvalidPayload("The body is broken off or badly encoded.", fields={}) from None
    return bytes(body)


def _check_media_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise UnsupportedMedia("The body must be application/json.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMedia("The body must be UTF-8.")


def path_ids(request: web.Request) -> dict[str, UUID]:
    """The parts of the path, all of which are ids. What is no UUID is NotFound."""
    ids = {name: _uuid(text) for name, text in request.match_info.items()}
    if None in ids.values():
        raise NotFound
    return {name: value for name, value in ids.items() if value is not None}


def bearer_token(request: web.Request) -> str | None:
    """The token of the Authorization header: nowhere else does REST look for one."""
    values = request.headers.getall(hdrs.AUTHORIZATION, ())
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    return match[1] if match else None


def with_idempotency_key(request: web.Request, body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the Idempotency-Key, bare or in quotes, as its `client_msg_id`.

    Raises InvalidPayload when it is no UUID or another one than the body's.
    """
    values = request.headers.getall(IDEMPOTENCY_KEY, ())
    if not values:
        return dict(body)
    key = _uuid(_without_quotes(values[0])) if len(values) == 1 else None
    if key is None:
        raise InvalidPayload(fields={IDEMPOTENCY_KEY: ["Must be one UUID."]})
    if body["client_msg_id"] not in (None, key):
        raise InvalidPayload(fields={"client_msg_id": [f"Differs from {IDEMPOTENCY_KEY}."]})
    return {**body, "client_msg_id": key}


def _without_quotes(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if is_quoted else text


def _uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None
