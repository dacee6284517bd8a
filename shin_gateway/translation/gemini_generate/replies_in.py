"""A GenerateContentResponse into the common form.

Source: ai.google.dev/api/generate-content#generatecontentresponse
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from shin_gateway.dialects.gemini_errors import failure_of
from shin_gateway.dialects.gemini_stream import usage_of
from shin_gateway.dialects.numbers import unix_time, word_of
from shin_gateway.errors import Refusal, UpstreamFailed
from shin_gateway.translation.form import Answer, AnyPart, Choice, Json, Text, ToolUse
from shin_gateway.translation.gemini_generate.fields import Fields
from shin_gateway.translation.gemini_generate.finishes import finish_of
from shin_gateway.translation.gemini_generate.grounding import citations_of, in_characters
from shin_gateway.translation.gemini_generate.logprobs import read_logprobs
from shin_gateway.translation.gemini_generate.parts_in import PartReader
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_common import Misfit

_MARKS = ("candidates", "promptFeedback", "usageMetadata")
_REPLY = Fields(*_MARKS, "modelVersion", "responseId", "createTime", "error")
_CANDIDATE = Fields("content", "finishReason", "index", "groundingMetadata", "citationMetadata", "logprobsResult")
_FEEDBACK = Fields("blockReason")
_USAGE = Fields(
    "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount",
    "cachedContentTokenCount", "promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails",
    "toolUsePromptTokensDetails", "trafficType", "serviceTier",
)  # fmt: skip
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority",
          "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}  # fmt: skip
"""`serviceTier` of the API with a key, `trafficType` of Vertex."""


def read_reply(body: Any) -> Answer:
    """Raises UpstreamFailed."""
    reply = inside(body)
    if isinstance(reply.get("error"), dict):  # that came as a success
        failure = failure_of(reply["error"])
        raise UpstreamFailed(failure.message, status=failure.status)
    if not any(name in reply for name in _MARKS):
        raise malformed()
    ids = Ids(word_of(reply, "responseId"))
    usage = usage_in(reply)
    return Answer(
        id=ids.reply,
        model=word_of(reply, "modelVersion"),
        created=unix_time(reply.get("createTime")),
        choices=[_choice(row, ids) for row in candidates_in(reply)],
        usage=usage_of(usage),
        service_tier=tier_of(usage),
        blocked=block_of(reply),
    )


def malformed() -> UpstreamFailed:
    return UpstreamFailed("The upstream's reply is not what its API gives.", code="upstream_malformed")


def inside(body: Any) -> Json:
    """The reply itself, out of Code Assist's envelope. Raises UpstreamFailed."""
    inner = body.get("response") if isinstance(body, dict) else None
    found = inner if isinstance(inner, dict) else body
    if not isinstance(found, dict):
        raise malformed()
    return _REPLY.camel(found)


def candidates_in(reply: Json) -> list[Json]:
    rows = reply.get("candidates")
    return [_CANDIDATE.camel(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def usage_in(reply: Json) -> Json:
    """`usageMetadata`; empty where there is none."""
    found = reply.get("usageMetadata")
    return _USAGE.camel(found) if isinstance(found, dict) else {}


def tier_of(usage: Json) -> str:
    """The service tier in the form's word; empty where nothing is said of it."""
    return _TIERS.get(word_of(usage, "serviceTier"), "") or _TIERS.get(word_of(usage, "trafficType"), "")


def block_of(reply: Json) -> str:
    feedback = reply.get("promptFeedback")
    return word_of(_FEEDBACK.camel(feedback), "blockReason") if isinstance(feedback, dict) else ""


class Ids:
    """Ids for function calls that came without, unlike those of any other reply of a conversation."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self._seed = reply or uuid4().hex
        self._made = 0

    def name(self, part: AnyPart) -> None:
        if isinstance(part, ToolUse) and not part.id:
            mark = blake2b(f"{self._seed}.{self._made}".encode("utf-8", "replace"), digest_size=12).hexdigest()
            part.id = f"call_{mark}"
            self._made += 1


def parts_of(rows: Iterable[Any], ids: Ids) -> Iterator[list[AnyPart]]:
    """What each part of a candidate's content says. What cannot be read is passed over."""
    reader = PartReader(Losses())
    for row in rows:
        found: list[AnyPart] = []
        try:
            reader.read(row, "", found)
        except (Misfit, Refusal, RecursionError):
            found = []
        for part in found:
            ids.name(part)
        yield found


def rows_of(candidate: Json) -> list[Any]:
    """The parts of a candidate's content as they came; none where the content is missing or empty."""
    content = candidate.get("content")
    rows = content.get("parts") if isinstance(content, dict) else None
    return rows if isinstance(rows, list) else []


def _choice(candidate: Json, ids: Ids) -> Choice:
    rows = list(parts_of(rows_of(candidate), ids))
    parts = [part for row in rows for part in row]
    _cite(candidate, rows)
    reason = candidate.get("finishReason")
    return Choice(
        parts=parts,
        finish=finish_of(reason, any(isinstance(part, ToolUse) for part in parts)),
        logprobs=read_logprobs(candidate.get("logprobsResult")),
    )


def _cite(candidate: Json, rows: list[list[AnyPart]]) -> None:
    """Put citations to the texts that they are of; one that names no part, to the first text."""
    texts = {at: part for at, row in enumerate(rows) for part in row if isinstance(part, Text)}
    if not texts:
        return
    first = next(iter(texts))
    for at, citation in citations_of(candidate):
        text = texts.get(first if at is None else at, texts[first])
        text.citations = [*text.citations, citation]
    for text in texts.values():
        in_characters(text.citations, text.text)
