"""The common form as a GenerateContentResponse.

Source: ai.google.dev/api/generate-content#generatecontentresponse
"""

from __future__ import annotations

import msgspec

from shin_gateway.outcome import Usage
from shin_gateway.translation import sound
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Builtin,
    Choice,
    Json,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.gemini_generate.calls_in import is_envelope
from shin_gateway.translation.gemini_generate.finishes import block_reason, reason_of
from shin_gateway.translation.gemini_generate.grounding import Sources
from shin_gateway.translation.gemini_generate.logprobs import write_logprobs
from shin_gateway.translation.gemini_generate.signatures import sealed
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.media import sniff_base64
from shin_gateway.translation.names import restored
from shin_gateway.translation.translator import Origin

EMPTY: Json = {"text": ""}
"""Clients take a content without parts for a broken one."""


def write_reply(answer: Answer, origin: Origin, losses: Losses) -> Json:
    reply: Json = {}
    if answer.choices or not answer.blocked:
        reply["candidates"] = [_candidate(at, one, origin, losses) for at, one in enumerate(answer.choices)]
    if answer.blocked:
        reply["promptFeedback"] = {"blockReason": block_reason(answer.blocked)}
    if answer.usage is not None:
        reply["usageMetadata"] = write_usage(answer.usage)
    reply["modelVersion"] = origin.model
    reply["responseId"] = answer.id or origin.call_id
    return {"response": reply} if is_envelope(origin.body) else reply


def _candidate(at: int, choice: Choice, origin: Origin, losses: Losses) -> Json:
    writer = PartWriter(origin, losses)
    rows = [row for part in choice.parts if (row := writer.write(part)) is not None]
    candidate: Json = {"content": {"parts": rows or [EMPTY], "role": "model"}}
    candidate["finishReason"] = writer.reason(reason_of(choice.finish))
    candidate["index"] = at
    if (metadata := writer.sources.metadata) is not None:
        candidate["groundingMetadata"] = metadata
    if choice.logprobs:
        candidate.update(write_logprobs(choice.logprobs))
    return candidate


class PartWriter:
    """Writes the parts of one candidate, one after the other."""

    def __init__(self, origin: Origin, losses: Losses) -> None:
        self._origin = origin
        self._losses = losses
        self._thoughts: list[Reasoning] = []
        """Sealed thoughts since the last function call, which takes them along."""
        self._is_broken = False
        self._written = 0
        self.sources = Sources()

    def write(self, part: AnyPart) -> Json | None:
        """None for a part that Gemini has no way to say."""
        row = self._row(part)
        if row is not None:
            if isinstance(part, Text):
                for citation in part.citations:
                    self.sources.add(citation, part.text, self._written)
            self._written += 1
        return row

    def _row(self, part: AnyPart) -> Json | None:
        if isinstance(part, Text | Refused):
            return {"text": part.text} if part.text else None
        if isinstance(part, Reasoning):
            return self.thought(part)
        if isinstance(part, ToolUse):
            return self.call(part)
        if isinstance(part, Media):
            return self._media(part)
        if isinstance(part, Builtin):
            self._builtin(part)
        return None

    def thought(self, part: Reasoning) -> Json | None:
        """Its text, and its seal as the signature."""
        if not part.text and not part.seal:
            return None
        row: Json = {"text": part.text, "thought": True}
        if part.seal:
            row["thoughtSignature"] = sealed([part])
            self._thoughts.append(part)
        return row

    def call(self, part: ToolUse) -> Json | None:
        """A function call; None where its arguments cannot be read, which `reason` then says."""
        try:
            args = msgspec.json.decode(part.arguments) if part.arguments.strip() else {}
        except (msgspec.MsgspecError, ValueError, RecursionError):
            args = None
        if part.custom:
            args = {"input": part.arguments}
        if not isinstance(args, dict):
            self._is_broken = True
            self._losses.soften("functionCall.args")
            return None
        call: Json = {"name": restored(part.name, self._origin.chat.tools), "args": args}
        row: Json = {"functionCall": {"id": part.id, **call} if part.id else call}
        if signature := sealed(self._thoughts, with_text=True):
            row["thoughtSignature"] = signature
            self._thoughts.clear()
        return row

    def _media(self, part: Media) -> Json | None:
        if part.data:
            if part.text:
                self._losses.soften("candidates.content.transcript")
            return {"inlineData": {"mimeType": part.mime or self._type(part), "data": part.data}}
        if part.url:
            return {"fileData": {"mimeType": part.mime, "fileUri": part.url} if part.mime else {"fileUri": part.url}}
        if part.text:
            return {"text": part.text}
        self._losses.soften("candidates.content.media")
        return None

    def _type(self, part: Media) -> str:
        if part.kind == "audio":
            return sound.type_of(part, self._origin.chat)
        return sniff_base64(part.data) or "application/octet-stream"

    def _builtin(self, part: Builtin) -> None:
        is_result = bool(part.raw) and all(str(one.get("type", "")).endswith("_result") for one in part.raw)
        if part.kind == "web_search" and not is_result:
            self.sources.search(part.text)
        else:
            self._losses.soften("candidates.content.server_tools")

    def reason(self, reason: str) -> str:
        """`reason`, unless a call's arguments were broken and nothing else says why."""
        return "MALFORMED_FUNCTION_CALL" if self._is_broken and reason == "STOP" else reason


def write_usage(usage: Usage) -> Json:
    """Thoughts stand beside the candidates here, not among them."""
    out: Json = {"promptTokenCount": usage.input, "candidatesTokenCount": max(usage.output - usage.reasoning, 0)}
    out["totalTokenCount"] = usage.input + usage.output
    if usage.cached:
        out["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    if usage.input_audio:
        out["promptTokensDetails"] = _details(usage.input, usage.input_audio)
    if usage.output_audio:
        out["candidatesTokensDetails"] = _details(usage.output - usage.reasoning, usage.output_audio)
    return out


def _details(all_tokens: int, audio: int) -> list[Json]:
    rows = [("TEXT", all_tokens - audio), ("AUDIO", audio)]
    return [{"modality": kind, "tokenCount": tokens} for kind, tokens in rows if tokens > 0]
