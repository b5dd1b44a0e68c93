"""The OpenAPI document and the page made of it say what the server does."""

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from chatserver.api.examples import EXAMPLES
from chatserver.api.openapi import build_openapi
from chatserver.api.table import ROUTES
from chatserver.schemas.base import Schema, load
from chatserver.schemas.objects import ProblemSchema
from tests.integration.api.conftest import Start
from tests.integration.api.rest import Rest

DOCUMENT = build_openapi(ROUTES, max_length=5000, max_body_bytes=262_144)


def operations() -> Iterator[dict[str, Any]]:
    for path in DOCUMENT["paths"].values():
        yield from path.values()


async def test_it_documents_exactly_the_routes_that_are_served(rest: Rest) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in rest.node.app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    documented = {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    documents = {("GET", "/api/docs"), ("GET", "/api/openapi.json")}
    assert documented <= served
    assert {item for item in served if item[1].startswith("/api/")} <= documented | documents


async def test_it_is_served_as_it_is_built(rest: Rest) -> None:
    reply = await rest.get("/api/openapi.json", user=None)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.json == DOCUMENT


async def test_it_has_the_limits_of_the_settings(start: Start) -> None:
    rest = await start(messages__max_length=700, server__max_body_bytes=9000)
    document = (await rest.get("/api/openapi.json", user=None)).json
    assert document["servers"] == [{"url": "/", "description": "This server"}]
    for body in ("MessageBody", "EditBody"):
        content = document["components"]["schemas"][body]["properties"]["content"]
        assert content["maxLength"] == 700
    send = document["paths"]["/api/chat/conversations/{conversation_id}/messages"]["post"]
    assert send["requestBody"]["description"] == "At most 9000 bytes."


def test_every_text_and_number_that_is_taken_has_its_limit() -> None:
    """But for what is ignored: a probe's query."""
    bodies = {route.body.__name__ for route in ROUTES if route.body is not None}
    schemas = DOCUMENT["components"]["schemas"]
    taken = [
        *(item for name in bodies for item in schemas[name]["properties"].items()),
        *(
            (parameter["name"], parameter["schema"])
            for operation in operations()
            for parameter in operation["parameters"]
            if parameter["name"] != "exclude"
        ),
    ]
    for name, schema in taken:
        kinds = schema["type"]
        if "string" in kinds:
            assert schema.keys() & {"maxLength", "format", "enum"}, name
        if "integer" in kinds:
            assert {"minimum", "maximum"} <= schema.keys(), name
        if "array" in kinds:
            assert "maxItems" in schema, name


async def test_documents_may_be_switched_off(start: Start) -> None:
    rest = await start(server__serve_docs=False)
    for path in ("/api/docs", "/api/openapi.json"):
        assert (await rest.get(path, user=None)).outcome == (404, "not_found")


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r"'\$ref': '#/components/(\w+)/([^']+)'", str(DOCUMENT)))
    assert references
    for kind, name in references:
        assert name in DOCUMENT["components"][kind]


def test_every_operation_has_an_id_of_its_own_and_documents_its_failures() -> None:
    ids = [operation["operationId"] for operation in operations()]
    assert len(ids) == len(set(ids))
    for operation in operations():
        assert {"400", "403", "431", "500"} <= operation["responses"].keys()
        if operation["security"]:
            assert {"401", "422", "503"} <= operation["responses"].keys()
        if "requestBody" in operation:
            assert {"408", "413", "415"} <= operation["responses"].keys()


def test_no_query_parameter_is_null() -> None:
    for operation in operations():
        for parameter in operation["parameters"]:
            assert isinstance(parameter["schema"]["type"], str)
            assert parameter["schema"].get("default", 0) is not None


def test_bodies_are_closed_and_answers_open() -> None:
    closed = {
        name
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if schema.get("additionalProperties") is False
    }
    assert closed == {
        *("OpenConversation", "Archive", "MessageBody", "EditBody"),
        *("ConversationBody", "ParticipantBody", "RevocationBody", "NoticeBody"),
    }


@pytest.mark.parametrize("schema", EXAMPLES, ids=lambda schema: schema.__name__)
def test_every_example_is_valid(schema: type[Schema]) -> None:
    assert load(schema(), EXAMPLES[schema])


def test_every_error_has_a_valid_example() -> None:
    examples = DOCUMENT["components"]["examples"]
    for code, example in examples.items():
        assert load(ProblemSchema(), example["value"])["code"] == code
    assert examples["rate_limited"]["value"]["retry_after"] == 1.5


class Page(HTMLParser):
    """What a page refers to, and whether its elements are closed."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.elements: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids
                self.ids.add(value or "")
            if name in ("href", "src"):
                self.links.add(value or "")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


async def test_the_page_needs_nothing_from_elsewhere(rest: Rest) -> None:
    reply = await rest.get("/api/docs", user=None)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    page = Page(reply.content.decode())
    assert not page.elements & {"script", "img", "link", "iframe", "form"}
    assert page.links - {"openapi.json"} == {f"#{anchor}" for anchor in page.ids} & page.links
    (style,) = re.findall(rb"<style>(.*?)</style>", reply.content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in reply.headers["Content-Security-Policy"]


async def test_the_page_tells_of_every_operation_object_and_error(rest: Rest) -> None:
    text = (await rest.get("/api/docs", user=None)).content.decode()
    page = Page(text)
    assert {operation["operationId"] for operation in operations()} <= page.ids
    assert {name.lower() for name in DOCUMENT["components"]["schemas"]} <= page.ids
    for code in DOCUMENT["components"]["examples"]:
        assert f"<code>{code}</code>" in text
