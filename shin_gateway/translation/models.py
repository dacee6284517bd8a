"""Lists of models, in the three APIs that have them.

- OpenAI, `GET /v1/models` (developers.openai.com/api/reference/resources/models): all at once
- Anthropic, `GET /v1/models` (platform.claude.com/docs/en/api/models/list): pages by `before_id`, `after_id`, `limit`
- Gemini, `GET /v1beta/models` (ai.google.dev/api/models): pages by `pageSize`, `pageToken`

A provider's list is read into rows, rows are written for a client in the API that it asked.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from shin_gateway.dialects.numbers import count, unix_time
from shin_gateway.errors import Invalid, NotFound, UpstreamFailed
from shin_gateway.translation.form import Json

_LATEST = 253_402_300_799
"""The last second that a date can have: the year 9999."""


class Model(msgspec.Struct, kw_only=True):
    """One model, by the name that a caller may ask for. None and empty: nobody said."""

    id: str
    created: int = 0
    """Unix seconds."""
    owner: str = ""
    """The provider: OpenAI's `owned_by`."""
    title: str = ""
    description: str = ""
    version: str = ""
    max_input: int | None = None
    """Tokens."""
    max_output: int | None = None
    methods: list[str] = []
    """Gemini's `supportedGenerationMethods`: `generateContent`, `embedContent`, …"""
    thinks: bool | None = None
    lifecycle: str = "active"
    """Anthropic's: `active` or `deprecated`."""
    raw: Json = {}
    """The row as the provider wrote it, for clients of the same API; `family` says which that is."""
    family: str = ""


def form_of(path: str, headers: Container[str]) -> str:
    """The dialect in whose API a client asks for models. Several APIs share `/v1/models`; headers tell them apart,
    and the key that Gemini's clients may put into the query. Names in `headers` are in lower case, or its `in` does
    not mind."""
    where, _, query = path.partition("?")
    if where.startswith(("/v1beta", "/v1alpha")) or "x-goog-api-key" in headers:
        return "gemini.generate"
    if "anthropic-version" in headers or "x-api-key" in headers:
        return "anthropic.messages"
    return "gemini.generate" if "key" in dict(parse_qsl(query)) else "openai.chat"


def unique(models: Iterable[Model]) -> list[Model]:
    """The first of each name, in the order in which they come."""
    found: dict[str, Model] = {}
    for model in models:
        found.setdefault(model.id, model)
    return list(found.values())


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


def write_list(dialect: str, models: Sequence[Model], query: Mapping[str, str]) -> Json:
    """A list, or the page of it that `query` asks for, in which a name that comes again has its values in one, with
    commas. Raises Invalid for a page that is none."""
    return _FORMS[_family(dialect)].write_list(models, query)


def write_one(dialect: str, model: Model) -> Json:
    """`GET …/models/ID`."""
    return _FORMS[_family(dialect)].write(model)


def bare(id: str) -> str:
    """A model's name as it stands in a path: escaped, perhaps after `models/`."""
    return unquote(id).removeprefix("models/")


def find(models: Iterable[Model], id: str) -> Model:
    """The model of this name, as it stands in a path. Raises NotFound."""
    name = bare(id)
    for model in models:
        if model.id == name:
            return model
    raise NotFound(f"The model {name[:100]!r} does not exist.", code="model_not_found", param="model")


def _raw(model: Model, family: str) -> Json:
    return model.raw if model.family == family else {}


def _write_openai(model: Model) -> Json:
    row = {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner or "system"}
    return {**_raw(model, "openai"), **row}


def _write_anthropic(model: Model) -> Json:
    """With the fields that the official client requires; what nobody said is null."""
    raw = _raw(model, "anthropic")
    return {
        **({} if raw else dict.fromkeys(("capabilities", "deprecated_at", "line", "retires_at"))),
        "display_name": model.title or model.id,
        "created_at": _written_time(model.created),
        "lifecycle": model.lifecycle,
        "max_input_tokens": model.max_input,
        "max_tokens": model.max_output,
        **raw,
        "type": "model",
        "id": model.id,
    }


def _write_gemini(model: Model) -> Json:
    found: Json = {
        "version": model.version or "001",
        "displayName": model.title or model.id,
        "description": model.description,
        "inputTokenLimit": model.max_input,
        "outputTokenLimit": model.max_output,
        "supportedGenerationMethods": model.methods or _methods(model.id),
        "thinking": model.thinks,
        **_raw(model, "gemini"),
        "name": model.id if model.id.startswith("tunedModels/") else f"models/{model.id}",
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _methods(id: str) -> list[str]:
    """By the name, where nobody said: clients pick what they may use by it."""
    return ["embedContent"] if "embed" in id else ["generateContent", "countTokens"]


def _list_openai(models: Sequence[Model], query: Mapping[str, str]) -> Json:
    return {"object": "list", "data": [_write_openai(model) for model in models]}


def _list_anthropic(models: Sequence[Model], query: Mapping[str, str]) -> Json:
    limit = _whole(query, "limit", 20, 1000)
    wanted = query.get("lifecycle") or query.get("lifecycle[]", "")
    models = [model for model in models if not wanted or model.lifecycle in wanted.split(",")]
    after, before = query.get("after_id", ""), query.get("before_id", "")
    if after and before:
        raise Invalid("before_id: may not be given together with after_id.", param="before_id")
    if before:
        end = _place(models, before, "before_id")
        start, more = max(0, end - limit), end > limit
    else:
        start = _place(models, after, "after_id") + 1 if after else 0
        end, more = start + limit, start + limit < len(models)
    page = models[start:end]
    return {
        "data": [_write_anthropic(model) for model in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _list_gemini(models: Sequence[Model], query: Mapping[str, str]) -> Json:
    limit = _whole(query, "pageSize", 50, 1000)
    start = _start(query.get("pageToken", ""))
    found: Json = {"models": [_write_gemini(model) for model in models[start : start + limit]]}
    if start + limit < len(models):
        found["nextPageToken"] = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
    return found


def _place(models: Sequence[Model], id: str, field: str) -> int:
    for at, model in enumerate(models):
        if model.id == id:
            return at
    raise Invalid(f"{field}: no model has this id.", param=field)


def _start(token: str) -> int:
    if not token:
        return 0
    try:
        number = base64.urlsafe_b64decode(token[:20]).decode("ascii")
    except ValueError:
        number = ""
    if not number.isdigit():
        raise Invalid("pageToken: is none of ours.", param="pageToken")
    return int(number)


def _whole(query: Mapping[str, str], field: str, otherwise: int, most: int) -> int:
    """A number from 1 to `most`; more is taken for `most`, 0 for nothing said, as Gemini does."""
    text = query.get(field, "")
    if text in ("", "0"):
        return otherwise
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{field}: must be a whole number from 1 to {most}.", param=field)
    return most if len(text) > 6 else min(int(text), most)


def _written_time(seconds: int) -> str:
    """RFC 3339; the epoch where nobody knows, as Anthropic's reference allows."""
    return f"{dt.datetime.fromtimestamp(min(max(seconds, 0), _LATEST), dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


class Page(NamedTuple):
    """One page of a provider's list."""

    models: list[Model]
    next: dict[str, str]
    """What the query of the next page says; empty: there is none."""


def read_page(dialect: str, body: Any) -> Page:
    """A provider's list. Rows that cannot be understood are passed over. Raises UpstreamFailed for what is no list."""
    form = _FORMS[_family(dialect)]
    rows = _rows(body, form.lists)
    if rows is None:
        raise UpstreamFailed("The provider's list of models is malformed.", code="upstream_malformed")
    found = [_with_raw(form.read(row), row, dialect) for row in rows if isinstance(row, dict)]
    return Page([model for model in found if model is not None and model.id], form.next(body))


def read_one(dialect: str, body: Any) -> Model | None:
    """What `GET …/models/ID` gives; None for what is no model, or one that is retired."""
    return _with_raw(_FORMS[_family(dialect)].read(body), body, dialect) if isinstance(body, dict) else None


def _with_raw(model: Model | None, row: Json, dialect: str) -> Model | None:
    if model is not None:
        model.raw, model.family = row, _family(dialect)
    return model


def _rows(body: Any, names: Sequence[str]) -> list[Any] | None:
    if isinstance(body, list):  # Together answers with a bare list
        return body
    found = (body.get(name) for name in names) if isinstance(body, dict) else ()
    rows = next((rows for rows in found if isinstance(rows, list)), None)
    # Gemini leaves out what is empty, OpenAI-compatible servers write null.
    return [] if rows is None and isinstance(body, dict) and _is_empty(body, names) else rows


def _is_empty(body: Json, names: Sequence[str]) -> bool:
    return "error" not in body and (not body or any(name in body and body[name] is None for name in names))


def _read_openai(row: Json) -> Model:
    """OpenAI's rows, with what compatible servers add: OpenRouter, Groq, vLLM, Mistral."""
    top = row.get("top_provider")
    return Model(
        id=_text(row, "id", "name"),
        created=count(row, "created") or 0,
        owner=_text(row, "owned_by"),
        title=_text(row, "name", "display_name"),
        description=_text(row, "description"),
        max_input=count(row, "context_length", "context_window", "max_model_len", "max_context_length"),
        max_output=count(row, "max_completion_tokens", "max_output_tokens") or count(top, "max_completion_tokens"),
    )


def _read_anthropic(row: Json) -> Model | None:
    if row.get("lifecycle") == "retired":
        return None
    return Model(
        id=_text(row, "id"),
        created=unix_time(row.get("created_at")),
        owner="anthropic",
        title=_text(row, "display_name"),
        lifecycle=_text(row, "lifecycle") or "active",
        max_input=count(row, "max_input_tokens") or None,
        max_output=count(row, "max_tokens") or None,
    )


def _read_gemini(row: Json) -> Model:
    methods = row.get("supportedGenerationMethods")
    thinks = row.get("thinking")
    return Model(
        id=_text(row, "name").removeprefix("models/").removeprefix("publishers/google/models/"),
        owner="google",
        title=_text(row, "displayName"),
        description=_text(row, "description"),
        version=_text(row, "version", "versionId"),
        max_input=count(row, "inputTokenLimit"),
        max_output=count(row, "outputTokenLimit"),
        methods=[one for one in methods if isinstance(one, str)] if isinstance(methods, list) else [],
        thinks=thinks if isinstance(thinks, bool) else None,
    )


def _text(row: Json, *names: str) -> str:
    found: Iterator[str] = (row[name] for name in names if isinstance(row.get(name), str) and row[name])
    return next(found, "")


def _next_openai(body: Any) -> dict[str, str]:
    return {}


def _next_anthropic(body: Any) -> dict[str, str]:
    last = body.get("last_id") if isinstance(body, dict) and body.get("has_more") is True else None
    return {"after_id": last} if isinstance(last, str) and last else {}


def _next_gemini(body: Any) -> dict[str, str]:
    token = body.get("nextPageToken") if isinstance(body, dict) else None
    return {"pageToken": token} if isinstance(token, str) and token else {}


# ── the three APIs ──────────────────────────────────────────────────────────────────────────────


class _Form(NamedTuple):
    write: Callable[[Model], Json]
    write_list: Callable[[Sequence[Model], Mapping[str, str]], Json]
    read: Callable[[Json], Model | None]
    lists: tuple[str, ...]
    """Where the rows stand."""
    next: Callable[[Any], dict[str, str]]


_FORMS = {
    "openai": _Form(_write_openai, _list_openai, _read_openai, ("data", "models"), _next_openai),
    "anthropic": _Form(_write_anthropic, _list_anthropic, _read_anthropic, ("data",), _next_anthropic),
    "gemini": _Form(
        _write_gemini, _list_gemini, _read_gemini, ("models", "tunedModels", "publisherModels"), _next_gemini
    ),
}


def _family(dialect: str) -> str:
    """`openai.chat` and `openai.responses` list models alike."""
    return dialect.partition(".")[0]
