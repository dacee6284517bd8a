"""Items of `output`, as a client of the Responses API gets them. The fields and their order are OpenAI's."""

from __future__ import annotations

from collections.abc import Iterable

from shin_gateway.translation.form import Builtin, Citation, Json, ToolUse
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_responses.names import ORIGIN, dicts, plain


def message(id: str, content: list[Json], status: str) -> Json:
    return {"id": id, "type": "message", "status": status, "content": content, "role": "assistant"}


def output_text(text: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    return {"type": "output_text", "annotations": annotations, "logprobs": logprobs, "text": text}


def refusal(text: str) -> Json:
    return {"type": "refusal", "refusal": text}


def reasoning(id: str, summary: str, content: str = "", encrypted: str = "") -> Json:
    item: Json = {"id": id, "type": "reasoning", "summary": []}
    if summary:
        item["summary"] = [{"type": "summary_text", "text": summary}]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": content}]
    if encrypted:
        item["encrypted_content"] = encrypted
    return item


def call(id: str, part: ToolUse, spaces: dict[str, tuple[str, str]], arguments: str, status: str) -> Json:
    namespace, name = spaces.get(part.name, ("", part.name))
    kind, field = ("custom_tool_call", "input") if part.custom else ("function_call", "arguments")
    item: Json = {"id": id, "type": kind, "status": status, field: arguments, "call_id": part.id, "name": name}
    return item | ({"namespace": namespace} if namespace else {})


def image(id: str, data: str, mime: str, status: str) -> Json:
    item: Json = {"id": id, "type": "image_generation_call", "status": status, "result": data or None}
    format = mime.removeprefix("image/")
    return item | ({"output_format": format} if format in ("png", "webp", "jpeg", "gif") else {})


def search(id: str, query: str, status: str) -> Json:
    action = {"type": "search", "query": query, "queries": [query] if query else []}
    return {"id": id, "type": "web_search_call", "status": status, "action": action}


def step(part: Builtin, id: str, losses: Losses) -> list[Json]:
    """A step of a provider's tool: OpenAI's own as it came, of others' what has an item here."""
    if part.origin == ORIGIN:
        return part.raw
    only_results = bool(part.raw) and all(str(one.get("type", "")).endswith("_result") for one in part.raw)
    if part.kind == "web_search" and not only_results:
        return [search(id, part.text, "completed")]
    losses.soften(f"output.{plain(part.kind)}")
    return []


def annotation(cited: Citation, length: int, losses: Losses) -> Json | None:
    """A citation; one without a place is of the whole text, which has `length` characters."""
    if cited.origin == ORIGIN and cited.raw:
        return cited.raw
    if cited.quote:
        losses.soften("output.annotations.quote")
    start, end = max(cited.start, 0), cited.end if cited.end >= 0 else length
    if cited.url:
        kind = {"type": "url_citation", "start_index": start, "end_index": end}
        return kind | {"title": cited.title, "url": cited.url}
    if cited.file_id or cited.title:
        name = cited.title or cited.file_id
        return {"type": "file_citation", "file_id": cited.file_id, "filename": name, "index": end}
    losses.soften("output.annotations")
    return None


def tokens(logprobs: Iterable[Json]) -> list[Json]:
    """Token objects with every field that this API's have: others leave out `bytes`."""
    return [
        {**_token(one), "top_logprobs": [_token(other) for other in dicts(one.get("top_logprobs"))]} for one in logprobs
    ]


def _token(one: Json) -> Json:
    text = str(one.get("token", ""))
    given = one.get("bytes")
    spelt = given if isinstance(given, list) else list(text.encode("utf-8", "replace"))
    chance = one.get("logprob")
    return {"token": text, "bytes": spelt, "logprob": chance if isinstance(chance, int | float) else 0.0}


def brief(logprobs: list[Json]) -> list[Json]:
    """As deltas have them: without `bytes`."""
    return [
        {
            "token": one["token"],
            "logprob": one["logprob"],
            "top_logprobs": [{"token": other["token"], "logprob": other["logprob"]} for other in one["top_logprobs"]],
        }
        for one in logprobs
    ]
