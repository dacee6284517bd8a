"""Gemini's embeddings: embedContent and batchEmbedContents (ai.google.dev/api/embeddings), Vertex' predict.

Names are read in camel case and in snake case. Vertex' newer calls put the settings into `embedContentConfig`.
Vectors of fewer dimensions than the model's own are not of length 1, as OpenAI's are; they are passed on as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from shin_gateway.dialects.heads import model_in_path, require_model
from shin_gateway.dialects.numbers import count, part_of
from shin_gateway.translation.embeddings.form import (
    Embed,
    Form,
    Sending,
    Vectors,
    batches,
    malformed,
    plain,
    size_of,
    text_of,
    vector_of,
    wrong,
)
from shin_gateway.translation.form import Json
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Traits

MOST_INPUTS = 100
"""Of one batchEmbedContents: "at most 100 requests can be in one batch"."""
MOST_TOKENS = 1_000_000
"""Of one batchEmbedContents. No limit is documented but those of tokens a minute."""
_MOST_INSTANCES = 250
_MOST_TOKENS = 20_000
"""Of one predict (cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings)."""

_SETTINGS = {
    "taskType": "task",
    "task_type": "task",
    "title": "title",
    "outputDimensionality": "dimensions",
    "output_dimensionality": "dimensions",
}
_CONFIGS = ("embedContentConfig", "embed_content_config")
_VERBS: dict[str, Form] = {":batchEmbedContents": "batch", ":embedContent": "one", ":predict": "predict"}
_PLACES: dict[Form, str] = {"batch": "requests.", "one": "", "predict": "instances.", "list": ""}


class GeminiEmbedder:
    """`models/M:embedContent`, `:batchEmbedContents`, `:predict`."""

    def read_call(self, body: Json, path: str, losses: Losses) -> Embed:
        form = _form(body, path)
        reading = _Reading(form, losses)
        if form == "one":
            reading.request(body, "")
        elif form == "batch":
            reading.each(body, "requests", reading.request)
        else:
            reading.each(body, "instances", reading.instance)
            reading.parameters(body.get("parameters"))
        return reading.embed(require_model(model_in_path(path) or reading.model, path))

    def write_calls(self, embed: Embed, traits: Traits, losses: Losses) -> list[Sending]:
        for at, one in enumerate(embed.inputs):
            if not isinstance(one, str):
                field = "input" if len(embed.inputs) == 1 else f"input[{at}]"
                raise wrong(field, "the model that serves this call takes texts, not tokens")
        if embed.user:
            losses.soften("user")
        base = f"/v1beta/models/{quote(embed.model.removeprefix('models/'), safe='@')}"
        if traits.words.get("embed") == "predict":
            return _predictions(embed, traits, base)
        return [
            Sending(f"{base}:batchEmbedContents", {"requests": [_request(embed, one) for one in some]}, len(some))
            for some in batches(embed, traits, MOST_INPUTS, MOST_TOKENS)
        ]

    def read_reply(self, body: Any) -> Vectors:
        if not isinstance(body, dict):
            raise malformed("it is no object")
        if isinstance(body.get("predictions"), list):
            return _read_predictions(body["predictions"])
        rows = body.get("embeddings", [body["embedding"]] if "embedding" in body else None)
        if not isinstance(rows, list):
            raise malformed("it has no list `embeddings`")
        usage = part_of(body, "usageMetadata", "usage_metadata")
        tokens = count(usage, "promptTokenCount", "prompt_token_count", "totalTokenCount", "total_token_count")
        return Vectors(rows=[vector_of(_values(row)) for row in rows], tokens=tokens)

    def write_reply(self, vectors: Vectors, embed: Embed, model: str) -> Json:
        rows = [{"values": list(row)} for row in vectors.rows]
        if embed.form == "predict":
            return _written_predictions(vectors, rows)
        body: Json = {"embedding": rows[0]} if embed.form == "one" and rows else {"embeddings": rows}
        if vectors.tokens is not None:
            body["usageMetadata"] = {"promptTokenCount": vectors.tokens, "totalTokenCount": vectors.tokens}
        return body


# ── calls in ────────────────────────────────────────────────────────────────────────────────────


def _form(body: Json, path: str) -> Form:
    verb = next((form for verb, form in _VERBS.items() if path.partition("?")[0].endswith(verb)), None)
    return verb or ("batch" if "requests" in body else "predict" if "instances" in body else "one")


class _Reading:
    """Gathers the texts of one call, and settings that have to be the same for all."""

    def __init__(self, form: Form, losses: Losses) -> None:
        self.model: str | None = None
        self._form: Form = form
        self._losses = losses
        self._inputs: list[str | list[int]] = []
        self._told: dict[str, Any] = {}
        self._first = True

    def each(self, body: Json, name: str, read: Callable[[Json, str], None]) -> None:
        rows = body.get(name)
        if not isinstance(rows, list) or not rows:
            raise wrong(name, "must be a list that is not empty")
        for key in body:
            if key not in (name, "parameters", "model"):
                self._losses.drop(plain(key))
        for at, row in enumerate(rows):
            if not isinstance(row, dict):
                raise wrong(f"{name}[{at}]", "must be an object")
            read(row, f"{name}[{at}].")

    def request(self, row: Json, place: str) -> None:
        config: Any = next((row[name] for name in _CONFIGS if row.get(name) is not None), {})
        if not isinstance(config, dict):
            raise wrong(f"{place}embedContentConfig", "must be an object")
        model = text_of(row.get("model"), f"{place}model")
        if model and self.model not in (None, model):
            raise wrong(f"{place}model", "must be the same in the whole batch")
        self.model = self.model or model or None
        self._inputs.append(_text(row.get("content"), f"{place}content"))
        self._settings({**row, **config}, place, frozenset(["model", "content", *_CONFIGS]))

    def instance(self, row: Json, place: str) -> None:
        content = row.get("content")
        if not isinstance(content, str):
            raise wrong(f"{place}content", "must be a string")
        self._inputs.append(content)
        self._settings(row, place, frozenset(["content"]))

    def parameters(self, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise wrong("parameters", "must be an object")
        for name in value:
            if _SETTINGS.get(name) != "dimensions":
                self._losses.drop(f"parameters.{plain(name)}")
        found = next((name for name in ("outputDimensionality", "output_dimensionality") if name in value), "")
        self._told["dimensions"] = size_of(value.get(found), f"parameters.{found}")

    def _settings(self, row: Json, place: str, known: frozenset[str]) -> None:
        told: dict[str, Any] = {}
        for name, value in row.items():
            setting = _SETTINGS.get(name)
            if setting is not None:
                read = size_of if setting == "dimensions" else text_of
                told[setting] = read(value, f"{place}{name}")
            elif name not in known:
                self._losses.drop(_PLACES[self._form] + plain(name))
        told = {name: value for name, value in told.items() if value not in (None, "")}
        if self._first:
            self._told, self._first = told, False
        elif told != self._told:
            self._differ(told, place)

    def _differ(self, told: dict[str, Any], place: str) -> None:
        """Vectors of other sizes than the rest would need a call of their own; a task is only advice."""
        if told.get("dimensions") != self._told.get("dimensions"):
            raise wrong(f"{place}outputDimensionality", "must be the same in the whole batch")
        for name, field in (("task", "taskType"), ("title", "title")):
            if told.get(name) != self._told.get(name):
                self._losses.drop(_PLACES[self._form] + field, "it differs within the batch")
                self._told.pop(name, None)

    def embed(self, model: str) -> Embed:
        name = model.removeprefix("models/")
        return Embed(model=name, inputs=self._inputs, form=self._form, place=_PLACES[self._form], **self._told)


def _text(content: object, field: str) -> str:
    """The text of a Content. Several parts are one input."""
    if isinstance(content, str):
        return content
    if not isinstance(content, dict):
        raise wrong(field, "must be an object" if content is not None else "is missing")
    parts = content.get("parts")
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list) or not parts:
        raise wrong(f"{field}.parts", "must be a list that is not empty")
    return "\n".join([_text_of_part(part, f"{field}.parts[{at}]") for at, part in enumerate(parts)])


def _text_of_part(part: object, field: str) -> str:
    if not isinstance(part, dict):
        raise wrong(field, "must be an object")
    text = part.get("text")
    if text is None:
        raise wrong(field, "only texts can be embedded by the model that serves this call")
    if not isinstance(text, str):
        raise wrong(f"{field}.text", "must be a string")
    return text


# ── calls out ───────────────────────────────────────────────────────────────────────────────────


def _request(embed: Embed, text: str | list[int]) -> Json:
    name = embed.model if "/" in embed.model else f"models/{embed.model}"
    row: Json = {"model": name, "content": {"parts": [{"text": text}]}}
    told = (("taskType", embed.task), ("title", embed.title), ("outputDimensionality", embed.dimensions))
    return {**row, **{name: value for name, value in told if value}}


def _predictions(embed: Embed, traits: Traits, base: str) -> list[Sending]:
    told = {name: value for name, value in (("task_type", embed.task), ("title", embed.title)) if value}
    common: Json = {"parameters": {"outputDimensionality": embed.dimensions}} if embed.dimensions else {}
    most = 1 if embed.model.startswith("gemini-embedding") else _MOST_INSTANCES  # one text a call, by the same page
    return [
        Sending(f"{base}:predict", {"instances": [{"content": one, **told} for one in some], **common}, len(some))
        for some in batches(embed, traits, most, _MOST_TOKENS)
    ]


# ── replies ─────────────────────────────────────────────────────────────────────────────────────


def _values(row: object) -> object:
    return row.get("values") if isinstance(row, dict) else None


def _read_predictions(rows: list[Any]) -> Vectors:
    found = [row.get("embeddings") if isinstance(row, dict) else None for row in rows]
    statistics = [part_of(one, "statistics") if isinstance(one, dict) else {} for one in found]
    told = [count(one, "token_count", "tokenCount") for one in statistics]
    tokens = None if None in told else sum(one for one in told if one is not None)
    return Vectors(rows=[vector_of(_values(one)) for one in found], tokens=tokens)


def _written_predictions(vectors: Vectors, rows: list[Json]) -> Json:
    """How many tokens each text had is known only where there is one."""
    if len(rows) == 1 and vectors.tokens is not None:
        rows[0]["statistics"] = {"truncated": False, "token_count": vectors.tokens}
    return {"predictions": [{"embeddings": row} for row in rows]}
