"""The documentation as people and programs read it: `/api/docs` and `/api/openapi.json`.

The page is made here from the OpenAPI document, of nothing but HTML and one style
sheet: it needs neither scripts nor anything from elsewhere.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from chatserver.http.compression import GZIP, accepts_gzip

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --link: #0a58ca; }
@media (prefers-color-scheme: dark) { :root { --link: #8ab4f8; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
a { color: var(--link); }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left;
         vertical-align: top; }
section { margin: 1.5rem 0; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
.method { display: inline-block; font-weight: 700; min-width: 4rem; }
.path { overflow-wrap: anywhere; }
"""

_CSP: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "style-src 'sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode() + "'"
)


class DocumentPages:
    """Serves one OpenAPI document, made ready once."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._json = _Encodings(orjson.dumps(document))
        self._page = _Encodings(render(document).encode())

    async def openapi(self, request: web.Request) -> web.Response:
        return self._json.answer(request, "application/json")

    async def docs(self, request: web.Request) -> web.Response:
        response = self._page.answer(request, "text/html")
        response.headers["Content-Security-Policy"] = _CSP
        return response


class _Encodings:
    """Static content, plain and compressed as far as it goes."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain
        self._gzip = gzip.compress(plain, mtime=0)

    def answer(self, request: web.Request, content_type: str) -> web.Response:
        is_packed = accepts_gzip(request)
        body = self._gzip if is_packed else self._plain
        response = web.Response(body=body, content_type=content_type, charset="utf-8")
        if is_packed:
            response.headers[hdrs.CONTENT_ENCODING] = GZIP
        response.headers[hdrs.VARY] = f"{hdrs.ORIGIN}, {hdrs.ACCEPT_ENCODING}"
        return response


def render(document: Mapping[str, Any]) -> str:
    """The document as a page."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    tags = [tag["name"] for tag in document["tags"]]
    return "".join(
        (
            "<!doctype html><html lang=en><head><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>{_prose(info['description'])}",
            '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>',
            f"<nav>{_list(map(_link, [*tags, 'Errors', 'Objects']))}</nav>",
            *(_tag(tag, document) for tag in tags),
            _problems(document["components"]["examples"]),
            "<h2 id=objects>Objects</h2>",
            *(_object(*item) for item in sorted(document["components"]["schemas"].items())),
            "</body></html>",
        )
    )


def _tag(tag: str, document: Mapping[str, Any]) -> str:
    operations = [
        _operation(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]
    return f"<h2 id={_anchor(tag)}>{escape(tag)}</h2>{''.join(operations)}"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    identity = escape(operation["operationId"])
    is_public = not operation["security"]
    return (
        f"<section id={identity}><h3><span class=method>{method}</span> "
        f"<code class=path>{escape(path)}</code></h3><p>{escape(operation['summary'])}."
        f"{' Needs no token.' if is_public else ''}</p>"
        f"{_parameters(operation['parameters'])}{_body(operation.get('requestBody'))}"
        f"{_responses(operation['responses'])}</section>"
    )


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            f"<code>{escape(parameter['name'])}</code>",
            parameter["in"],
            _type(parameter["schema"]),
            _prose(parameter.get("description", ""), tag="span"),
        )
        for parameter in parameters
    ]
    return _table(("Parameter", "In", "Type", ""), rows)


def _body(body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    ((_, media),) = body["content"].items()
    optional = "" if body["required"] else " (optional)"
    return f"<p>Body{optional}: {_type(media['schema'])}</p>{_example(media)}"


def _responses(responses: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for status, response in responses.items():
        media: Mapping[str, Any] = next(iter(response.get("content", {}).values()), {})
        schema = _type(media["schema"]) if media else "nothing"
        rows.append((status, _prose(response["description"], tag="span"), schema + _example(media)))
    return _table(("Status", "", "Answers"), rows)


def _example(media: Mapping[str, Any]) -> str:
    if "example" not in media:
        return ""
    text = json.dumps(media["example"], indent=2, ensure_ascii=False)
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _problems(examples: Mapping[str, Mapping[str, Any]]) -> str:
    problems = sorted(
        (example["value"] for example in examples.values()),
        key=lambda problem: (problem["status"], problem["code"]),
    )
    rows = [
        (
            str(problem["status"]),
            f"<code>{escape(problem['code'])}</code>",
            "yes" if problem["retryable"] else "no",
            escape(problem["detail"]),
        )
        for problem in problems
    ]
    return f"<h2 id=errors>Errors</h2>{_table(('Status', 'Code', 'Retryable', ''), rows)}"


def _object(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(member)}</code>",
            _type(part) + ("" if member in required else ", optional"),
            _prose(part.get("description", ""), tag="span"),
        )
        for member, part in schema["properties"].items()
    ]
    table = _table(("Member", "Type", ""), rows)
    return f"<section id={_anchor(name)}><h3>{escape(name)}</h3>{table}</section>"


def _type(schema: Mapping[str, Any]) -> str:
    """Describe in a few words the values that a schema allows."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = " or ".join("list of " + _type(schema["items"]) if k == "array" else k for k in kinds)
    return words + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    parts = [schema["format"]] if "format" in schema else []
    if "minimum" in schema:
        parts.append(f"{schema['minimum']} to {schema['maximum']}")
    if "maxLength" in schema:
        parts.append(f"at most {schema['maxLength']} characters")
    if schema.get("default") is not None:
        parts.append(f"else {json.dumps(schema['default'])}")
    return f" ({escape(', '.join(parts))})" if parts else ""


def _table(heads: Iterable[str], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _prose(text: str, tag: str = "p") -> str:
    """Paragraphs, with what is in backquotes as code."""
    paragraphs = [escape(part.strip()) for part in text.split("\n\n")]
    marked = [re.sub(r"`([^`]*)`", r"<code>\1</code>", part) for part in paragraphs]
    return "".join(f"<{tag}>{part}</{tag}>" for part in marked)


def _link(name: str) -> str:
    return f'<a href="#{_anchor(name)}">{escape(name)}</a>'


def _anchor(name: str) -> str:
    return escape(name.lower())
