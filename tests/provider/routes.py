"""Which wire format answers a path: rows, the first that fits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.provider.answer import Answer
from tests.provider.seen import Seen
from tests.provider.wire import anthropic, chat, gemini, others, responses
from tests.provider.wire.errors import error_body
from tests.provider.wire.said import Said, compact, resolve

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
Parts = Callable[[Said], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path's end, and who writes its whole and its streamed reply."""

    pattern: re.Pattern[str]
    dialect: str
    whole: Callable[[Said], bytes]
    parts: Parts | None = None


def _route(pattern: str, dialect: str, whole: Callable[[Said], bytes], parts: Parts | None = None) -> Route:
    return Route(re.compile(pattern + r"/?$"), dialect, whole, parts)


ROUTES = (
    _route(r"/chat/completions", "openai", chat.whole, chat.events),
    _route(r"/completions", "openai", chat.whole_text, chat.text_events),
    _route(r"/responses", "openai", responses.whole, responses.events),
    _route(r"/responses/input_tokens", "openai", others.openai_count),
    _route(r"/embeddings", "openai", others.embeddings),
    _route(r"/messages", "anthropic", anthropic.whole, anthropic.events),
    _route(r"/messages/count_tokens", "anthropic", others.anthropic_count),
    _route(r":(generateContent|streamGenerateContent)", "gemini", gemini.whole, gemini.events),
    _route(r":countTokens", "gemini", others.gemini_count),
    _route(r":embedContent", "gemini", others.gemini_embed),
    _route(r":batchEmbedContents", "gemini", others.gemini_embed_many),
)
MODELS = re.compile(r"^/(?:[\w-]+/)*?(?P<version>v1beta|v1)?/?models(?:/(?P<name>[^/:]+))?/?$")


@dataclass(frozen=True, slots=True)
class Written:
    """A reply's status, type and body: parts, one of them when it is whole."""

    status: int
    content_type: str
    parts: list[bytes]
    streamed: bool = False


def write(seen: Seen, answer: Answer) -> Written:
    """The reply of this path to this call."""
    if answer.body is not None:
        return Written(answer.status, answer.body_type, [answer.body])
    route = next((route for route in ROUTES if route.pattern.search(seen.path)), None)
    if answer.status >= 400:
        dialect = route.dialect if route else _dialect_of_caller(seen)
        return Written(answer.status, JSON, [error_body(dialect, answer.status)])
    if route and seen.method == "POST":
        return _write_call(route, seen, answer)
    listing = MODELS.match(seen.path) if seen.method == "GET" else None
    if listing:
        return Written(200, JSON, [others.models(_dialect_of_caller(seen), listing["name"] or "")])
    return Written(answer.status, JSON, [_echo(seen)])


def _write_call(route: Route, seen: Seen, answer: Answer) -> Written:
    call = _parse(seen)
    if call is None:
        return Written(400, JSON, [error_body(route.dialect, 400)])
    model = _model(seen, call)
    if not model and route.dialect != "gemini":
        return Written(400, JSON, [error_body(route.dialect, 400, "you must provide a model parameter")])
    said = resolve(answer, call, model)
    parts = _stream_of(route, seen, call)
    if parts is None:
        return Written(answer.status, JSON, [route.whole(said)])
    return Written(answer.status, JSON if parts is gemini.array else SSE, list(parts(said)), streamed=True)


def _stream_of(route: Route, seen: Seen, call: dict[str, Any]) -> Parts | None:
    if ":streamGenerateContent" in seen.path:
        return gemini.events if "alt=sse" in seen.query.split("&") else gemini.array
    return route.parts if call.get("stream") is True else None


def _parse(seen: Seen) -> dict[str, Any] | None:
    try:
        call = seen.json()
    except Exception:  # whatever a decoder raises, the body is not a call
        return None
    return call if isinstance(call, dict) else None


def _model(seen: Seen, call: dict[str, Any]) -> str:
    """From the body, or from the path as Gemini and Azure have it."""
    found = re.search(r"/(?:models|deployments)/([^/:]+)", seen.path)
    return str(call.get("model") or (found[1] if found else ""))


def _dialect_of_caller(seen: Seen) -> str:
    if seen.header("anthropic-version"):
        return "anthropic"
    return "gemini" if seen.header("x-goog-api-key") or "/v1beta/" in seen.path else "openai"


def _echo(seen: Seen) -> bytes:
    told = {
        "method": seen.method,
        "target": seen.target,
        "headers": seen.headers,
        "body_bytes": len(seen.body),
        "body_sha256": hashlib.sha256(seen.body).hexdigest(),
    }
    return compact(told).encode()
