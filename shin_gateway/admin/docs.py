"""The page about the API, written here from its OpenAPI description: no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

_STYLE = Path(__file__).with_name("docs.css").read_text()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CSP = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; frame-ancestors 'none'"
"""Lets in our own style and nothing else."""

Json = Mapping[str, Any]


def page(api: Json) -> str:
    """HTML from an OpenAPI 3.1 description."""
    info, schemas = api["info"], api["components"]["schemas"]
    operations = [
        (method, path, operation) for path, methods in api["paths"].items() for method, operation in methods.items()
    ]
    links = "".join(f'<li><a href="#{_id(path)}">{escape(path)}</a></li>' for path in api["paths"])
    types = "".join(f'<li><a href="#{_id(name)}">{escape(name)}</a></li>' for name in sorted(schemas))
    sections = "".join(_operation(*one, first=one[0] == next(iter(api["paths"][one[1]]))) for one in operations)
    described = "".join(_schema(name, schemas[name]) for name in sorted(schemas))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(info["title"])}: {escape(info["summary"])}</title><style>{_STYLE}</style></head>
<body><nav><h2>Paths</h2><ul>{links}</ul><h2>Types</h2><ul>{types}</ul></nav>
<main><header><h1>{escape(info["title"])} <small>{escape(info["summary"])} · {escape(info["version"])}</small></h1>
{_text(info["description"])}<p>For programs: <a href="/openapi.json">openapi.json</a></p></header>
{sections}<h2 class="part">Types</h2>{described}</main></body></html>
"""


def _operation(method: str, path: str, operation: Json, *, first: bool) -> str:
    """`first`: of those of its path, which the links lead to."""
    asked = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    rows = (_row(one["name"], _said(one["schema"]), one.get("description", ""), one["required"]) for one in asked)
    replies = "".join(_reply(status, reply) for status, reply in operation["responses"].items())
    id = f' id="{_id(path)}"' if first else ""
    return f"""<section{id}><h3><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h3>
{_text(operation.get("description", ""))}{_table("Query", rows) if asked else ""}{_body(operation)}
<table class="replies"><thead><tr><th>Status</th><th>Reply</th><th></th></tr></thead><tbody>{replies}</tbody></table>
</section>"""


def _body(operation: Json) -> str:
    contents = operation.get("requestBody", {}).get("content", {}).values()
    types = " ".join(_type(_said(one["schema"])) for one in contents)
    return f"<p>Body: {types}</p>" if types else ""


def _reply(status: str, reply: Json) -> str:
    kind = "bad" if status >= "400" else "good"
    types = (_type(content["schema"]) for content in reply.get("content", {}).values())
    return (
        f'<tr><td><span class="{kind}">{escape(status)}</span></td><td>{" ".join(types)}</td>'
        f"<td>{escape(reply['description'])}</td></tr>"
    )


def _schema(name: str, schema: Json) -> str:
    needed = schema.get("required", ())
    rows = (
        _row(key, value, value.get("description", ""), key in needed)
        for key, value in schema.get("properties", {}).items()
    )
    return (
        f'<section id="{_id(name)}"><h3><code>{escape(name)}</code></h3>{_text(schema.get("description", ""))}'
        f"{_table('Member', rows)}</section>"
    )


def _table(head: str, rows: Iterable[str]) -> str:
    return f"<table><thead><tr><th>{head}</th><th>Type</th><th></th></tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(name: str, schema: Json, description: str, required: bool) -> str:
    notes = " · ".join(_notes(schema))
    optional = "" if required else ' class="optional"'
    more = f"<small>{escape(notes)}</small>" if notes else ""
    cells = f"<td{optional}><code>{escape(name)}</code></td><td>{_type(schema)}{more}</td><td>{_text(description)}</td>"
    return f"<tr>{cells}</tr>"


def _said(schema: Json) -> Json:
    """The schema of a parameter where it is there: that it may be absent shows elsewhere."""
    kinds = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return {**schema, "anyOf": kinds} if kinds else schema


def _type(schema: Json) -> str:
    """A schema in a word or two, as HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_id(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    inner = schema.get("additionalProperties")
    if isinstance(inner, dict) and inner:
        return f"map to {_type(inner)}"
    return escape(str(schema.get("format", schema.get("type", "any"))))


def _notes(schema: Json) -> Iterator[str]:
    """Default and bounds, also where the schema is one of several."""
    if schema.get("default") is not None:
        yield f"default {schema['default']}"
    for one in schema.get("anyOf", [schema]):
        if "minimum" in one and "maximum" in one:
            yield f"{one['minimum']} to {one['maximum']:,}"
        if "maxLength" in one:
            yield f"up to {one['maxLength']} characters"


def _text(text: str) -> str:
    return "".join(f"<p>{_with_code(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _with_code(line: str) -> str:
    """`Code` between backticks, as our docstrings have it."""
    parts = escape(line).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _id(name: str) -> str:
    return escape(name.strip("/").replace("/", "-"))
