"""The OpenAPI document, generated from the table of routes and the schemas."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import fields

from chatserver.api.examples import EXAMPLES
from chatserver.api.parsing import IDEMPOTENCY_KEY
from chatserver.api.routes import JSON, LINK, LOCATION, TEXT, Answer, Route
from chatserver.errors import ChatError
from chatserver.http.problems import MEDIA_TYPE, X_REQUEST_ID, problem
from chatserver.schemas.base import Schema
from chatserver.schemas.objects import ProblemSchema
from chatserver.schemas.requests import EditBody, MessageBody

DESCRIPTION: Final = """\
Callers are users of the host application, which signs their tokens: send one as
`Authorization: Bearer <jwt>`. Times are RFC 3339 in UTC with microseconds, ids are UUIDs,
lists come newest first unless they say otherwise, and a `Link` header with `rel="next"`
leads to the next page while there is one.

Every error is a problem document (RFC 9457): `code` says what is wrong, `retryable` whether
the same request may succeed later, `fields` which fields are bad. What does not exist and
what is not the caller's get the same `not_found`. Unknown fields and query parameters are
refused; of duplicate keys in a JSON object the last one counts. A path that the server does
not know is `not_found`, a method that a path does not take `method_not_allowed`, with `Allow`.
What is no HTTP is `bad_request`, a line of the head above 8 KB `header_fields_too_large`;
both close the connection.
"""

_HEADERS: Final = {
    LINK: 'The next page, as `<url>; rel="next"`; absent on the last one.',
    LOCATION: "The path of what was created.",
    X_REQUEST_ID: "What the server's log calls this request: the caller's own id, or a new one.",
    "Retry-After": "Seconds to wait before trying again.",
    "WWW-Authenticate": "Always `Bearer`.",
}

_EXAMPLE_REQUEST_ID: Final = "2f8a6d0c5b3e4c1f9a7d8e6b5c4f3a21"


def build_openapi(
    routes: Sequence[Route], *, max_length: int, max_body_bytes: int
) -> dict[str, Any]:
    """The document of `routes`, in OpenAPI 3.1, with the limits that are settings."""
    marshmallow = MarshmallowPlugin()
    spec = APISpec(
        title="Chat server",
        version=version("chatserver"),
        openapi_version="3.1.0",
        info={"description": DESCRIPTION},
        # Behind a proxy only the caller knows the address: it is where this document came from.
        servers=[{"url": "/", "description": "This server"}],
        plugins=[marshmallow],
        tags=[{"name": name} for name in dict.fromkeys(route.tag for route in routes)],
    )
    assert marshmallow.converter is not None
    marshmallow.converter.add_attribute_function(_enum_type)  # type: ignore[no-untyped-call]
    spec.components.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    )
    for name, description in _HEADERS.items():
        spec.components.header(name, {"description": description, "schema": {"type": "string"}})
    for error in dict.fromkeys(error for route in routes for error in route.all_errors):
        spec.components.example(error.code, {"value": _problem_example(error)})
    for route in routes:
        operation = _operation(route, max_body_bytes)
        spec.path(route.path, operations={route.method.lower(): operation})
    document: dict[str, Any] = spec.to_dict()
    _open_answers(document, routes)
    _drop_nulls(document)
    for body in (MessageBody, EditBody):
        content = document["components"]["schemas"][body.__name__]["properties"]["content"]
        content["maxLength"] = max_length
    return document


def _enum_type(_: Any, field: fields.Field[Any], **__: Any) -> dict[str, str]:
    """apispec lists the values of an enumeration, but not that they are strings."""
    return {"type": "string"} if isinstance(field, fields.Enum) else {}


def _operation(route: Route, max_body_bytes: int) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": {
            **{str(answer.status): _answer(answer) for answer in route.answers},
            **_errors(route),
        },
        "security": [] if route.is_public else [{"bearer": []}],
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.is_body_optional,
            "description": f"At most {max_body_bytes} bytes.",
            "content": {JSON: _media(route.body)},
        }
    return operation


def _parameters(route: Route) -> list[Any]:
    path: list[Any] = [
        {
            "in": "path",
            "name": name,
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for name in route.path_parameters
    ]
    query = [{"in": "query", "schema": route.query}] if route.query().fields else []
    key = {
        "in": "header",
        "name": IDEMPOTENCY_KEY,
        "description": "The same as `client_msg_id` in the body: makes a repeat safe.",
        "schema": {"type": "string", "format": "uuid"},
    }
    return [*path, *query, *([key] if route.takes_idempotency_key else [])]


def _answer(answer: Answer) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": answer.description,
        "headers": _headers(answer.headers),
    }
    if answer.schema is not None:
        response["content"] = {answer.media_type: _media(answer.schema, is_list=answer.is_list)}
    elif answer.media_type == TEXT:
        response["content"] = {TEXT: {"schema": {"type": "string"}}}
    return response


def _media(schema: type[Schema], *, is_list: bool = False) -> dict[str, Any]:
    example = EXAMPLES[schema]
    if is_list:
        return {"schema": {"type": "array", "items": schema}, "example": [example]}
    return {"schema": schema, "example": example}


def _errors(route: Route) -> dict[str, Any]:
    """The problems that a route may answer, by status; a status may have several codes."""
    by_status: dict[int, list[type[ChatError]]] = defaultdict(list)
    for error in route.all_errors:
        by_status[error.status].append(error)
    taken = {answer.status for answer in route.answers}
    return {
        str(status): _error(status, errors)
        for status, errors in by_status.items()
        if status not in taken
    }


def _error(status: int, errors: Sequence[type[ChatError]]) -> dict[str, Any]:
    extra = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
    return {
        "description": " ".join(f"`{error.code}`: {error.default_detail}" for error in errors),
        "headers": _headers(extra.get(status, ())),
        "content": {
            MEDIA_TYPE: {
                "schema": ProblemSchema,
                "examples": {error.code: error.code for error in errors},
            }
        },
    }


def _headers(names: Iterable[str]) -> dict[str, str]:
    # apispec takes the name of a component for the reference to it.
    return {name: name for name in (*names, X_REQUEST_ID)}


def _problem_example(error: type[ChatError]) -> dict[str, Any]:
    retry_after = 1.5 if error.retryable else None
    fields = {"content": ["must not be blank"]} if error.code == "invalid_payload" else None
    return problem(error(retry_after=retry_after, fields=fields), _EXAMPLE_REQUEST_ID)


def _open_answers(document: dict[str, Any], routes: Sequence[Route]) -> None:
    """Bodies take no unknown members, but answers may get more of them in a later version."""
    taken = {route.body.__name__ for route in routes if route.body is not None}
    for name, schema in document["components"]["schemas"].items():
        if name not in taken:
            schema.pop("additionalProperties", None)


def _drop_nulls(document: dict[str, Any]) -> None:
    """A query parameter may be absent, but it cannot be null."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                schema = parameter["schema"]
                if isinstance(schema["type"], list):
                    (schema["type"],) = (kind for kind in schema["type"] if kind != "null")
                if schema.get("default", "") is None:
                    del schema["default"]
