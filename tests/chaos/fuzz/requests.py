"""Random requests to every operation of the OpenAPI document."""

import json
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from tests.chaos.fuzz.junk import Junk

METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
TYPES = ("text/plain", "application/json; charset=utf-16", "multipart/form-data", "", "x")


@dataclass(frozen=True, slots=True)
class Request:
    """`url` is a path with its query, as it is written."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


class Requests:
    """All of it follows from the seed of `random`. `tokens` are right ones."""

    def __init__(
        self, document: dict[str, Any], random: Random, junk: Junk, tokens: list[str]
    ) -> None:
        self._random = random
        self._junk = junk
        self._tokens = tokens
        self._schemas = document["components"]["schemas"]
        self._operations = [
            (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if method in METHODS
        ]

    def request(self) -> Request:
        method, path, operation = self._random.choice(self._operations)
        query, headers = list[tuple[str, str]](), self._headers()
        for parameter in operation.get("parameters", ()):
            name, made = parameter["name"], self._parameter(parameter["schema"])
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(_safe(made), safe="") or "x")
            elif self._random.random() < 0.4:
                if parameter["in"] == "query":
                    query.append((name, _safe(made)))
                else:
                    headers[name] = quote(_safe(made))
        if self._random.random() < 0.05:
            query.append((_safe(self._junk.text()), _safe(self._junk.text())))
        if self._random.random() < 0.03:
            method = self._random.choice(METHODS)
        body = None
        if "requestBody" in operation or self._random.random() < 0.03:
            body = self._body(operation)
            headers["Content-Type"] = "application/json"
            if self._random.random() < 0.05:
                headers["Content-Type"] = self._random.choice(TYPES)
        url = path + (f"?{urlencode(query)}" if query else "")
        return Request(method.upper(), url, headers, body)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": self._random.choice(("gzip", "identity", "*;q=x"))}
        chance = self._random.random()
        if chance < 0.9:
            headers["Authorization"] = f"Bearer {self._random.choice(self._tokens)}"
        elif chance < 0.95:
            token = self._random.choice(self._tokens)
            headers["Authorization"] = f"Bearer {token[: self._random.randrange(len(token))]}"
        if self._random.random() < 0.02:
            headers["X-Request-ID"] = quote(_safe(self._junk.text()))
        return headers

    def _parameter(self, schema: dict[str, Any]) -> str:
        if self._random.random() < 0.2:
            return self._junk.text()
        return str(self._made(schema))

    def _body(self, operation: dict[str, Any]) -> bytes:
        chance = self._random.random()
        if chance < 0.03:
            return self._random.randbytes(self._random.randrange(200))
        if chance < 0.06:
            return self._junk.deep().encode()
        if chance < 0.07:
            return json.dumps({"content": "x" * 300_000}).encode()
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        value = self._made(schema) if chance < 0.9 and schema else self._junk.value()
        return self._junk.written(value).encode(errors="surrogatepass")

    def _made(self, schema: dict[str, Any], depth: int = 4) -> Any:
        """A value that is nearly of the schema."""
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self._made(self._random.choice(schema[several]), depth)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self._random.choice(kind)
        if kind == "object" and depth:
            fields = schema.get("properties", {})
            if fields and self._random.random() < 0.3:
                fields = dict([self._random.choice([*fields.items()])])
            return self._junk.object(
                {name: partial(self._made, inner, depth - 1) for name, inner in fields.items()}
            )
        if kind == "array" and depth:
            items = schema.get("items", {})
            return [self._made(items, depth - 1) for _ in range(self._random.randrange(4))]
        return self._scalar(kind, schema)

    def _scalar(self, kind: str | None, schema: dict[str, Any]) -> Any:
        if kind == "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", 1000)
            return self._random.choice((low, high, low - 1, high + 1, 1, 2, 5))
        if kind == "boolean":
            return self._random.random() < 0.5
        if schema.get("format") == "uuid":
            return self._junk.id()
        if schema.get("format") == "date-time":
            return self._random.choice(("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026"))
        return self._junk.text() if kind == "string" else self._junk.value()


def _safe(text: str) -> str:
    """Without lone surrogates, which no URL can hold."""
    return text.encode(errors="replace").decode()
