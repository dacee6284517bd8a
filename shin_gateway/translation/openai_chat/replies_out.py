"""Whole replies of the common form as Chat Completions has them."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation import sound
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Builtin,
    Choice,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolResult,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.reasoning import write_detail, write_tool_seal
from shin_gateway.translation.openai_chat.usage import (
    TIERS,
    write_citation,
    write_finish,
    write_logprobs,
    write_usage,
)
from shin_gateway.translation.translator import Origin

Json = dict[str, Any]


def write_reply(answer: Answer, origin: Origin, losses: Losses) -> Json:
    choices = answer.choices or [Choice(finish="filtered")]
    legacy, wanted = is_legacy(origin), sound.format_of(origin.chat)
    reply: Json = {
        "id": reply_id(answer.id, origin),
        "object": "chat.completion",
        "created": answer.created or origin.created,
        "model": origin.model,
        "choices": [_choice(choice, index, legacy, wanted, losses) for index, choice in enumerate(choices)],
    }
    if answer.usage is not None:
        reply["usage"] = write_usage(answer.usage)
    if answer.service_tier in TIERS:
        reply["service_tier"] = answer.service_tier
    return reply


def reply_id(id: str, origin: Origin) -> str:
    return id or f"chatcmpl-{origin.call_id}"


def is_legacy(origin: Origin) -> bool:
    """Whether the client knows `function_call` and not `tool_calls`."""
    return bool(origin.body.get("functions")) and not origin.body.get("tools")


def _choice(choice: Choice, index: int, legacy: bool, wanted: str, losses: Losses) -> Json:
    return {
        "index": index,
        "message": write_message(choice.parts, legacy, wanted, losses),
        "logprobs": write_logprobs(choice.logprobs) if choice.logprobs is not None else None,
        "finish_reason": write_finish(choice.finish, choice.parts, legacy),
    }


def write_message(parts: list[AnyPart], legacy: bool, wanted: str, losses: Losses) -> Json:
    """`wanted` is the format that sound shall have."""
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    of = _sorted(parts, losses)
    if of.texts:
        message["content"] = "".join([part.text for part in of.texts])
        if annotations := _annotations(of.texts, losses):
            message["annotations"] = annotations
    if of.refusals:
        message["refusal"] = "".join([part.text for part in of.refusals])
    if of.thoughts:
        _think(of.thoughts, message)
    if of.media:
        _show(of.media, message, wanted, losses)
    if of.calls:
        _call(of.calls, message, legacy, losses)
    return message


class _Sorted:
    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.refusals: list[Refused] = []
        self.thoughts: list[Reasoning] = []
        self.media: list[Media] = []
        self.calls: list[ToolUse] = []


def _sorted(parts: list[AnyPart], losses: Losses) -> _Sorted:
    of = _Sorted()
    for part in parts:
        match part:
            case Text():
                of.texts.append(part)
            case ToolUse():
                of.calls.append(part)
            case Reasoning():
                of.thoughts.append(part)
            case Refused():
                of.refusals.append(part)
            case Media():
                of.media.append(part)
            case Builtin() | ToolResult():
                losses.soften("server_tools")
    return of


def _annotations(texts: list[Text], losses: Losses) -> list[Json]:
    done: list[Json] = []
    start = 0
    for part in texts:
        for citation in part.citations:
            written = write_citation(citation, start, start + len(part.text))
            if written is None:
                losses.soften("citations")
            else:
                done.append(written)
        start += len(part.text)
    return done


def _think(thoughts: list[Reasoning], message: Json) -> None:
    if text := "\n\n".join([part.text for part in thoughts if part.text]):
        message["reasoning_content"] = text
    if any(part.seal for part in thoughts):
        sealed = [part for part in thoughts if part.seal]
        message["reasoning_details"] = [write_detail(part, index) for index, part in enumerate(sealed)]


def _show(media: list[Media], message: Json, wanted: str, losses: Losses) -> None:
    for part in media:
        if part.kind == "audio" and "audio" not in message:
            data, fits = sound.fitted(part, wanted)
            message["audio"] = {"id": part.id, "expires_at": 0, "data": data, "transcript": part.text}
            if not fits:
                losses.soften("audio.format")
        elif part.kind == "image":
            message.setdefault("images", []).append(write_image(part))
        else:
            losses.soften(part.kind)


def write_image(part: Media) -> Json:
    """As OpenRouter has images that a model made."""
    url = part.url or f"data:{part.mime or 'image/png'};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _call(calls: list[ToolUse], message: Json, legacy: bool, losses: Losses) -> None:
    if not legacy:
        message["tool_calls"] = [write_tool_call(part) for part in calls]
        return
    message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments or "{}"}
    if len(calls) > 1:
        losses.soften("function_call")


def write_tool_call(part: ToolUse) -> Json:
    if part.custom:
        return {"id": part.id, "type": "custom", "custom": {"name": part.name, "input": part.arguments}}
    function = {"name": part.name, "arguments": part.arguments or "{}"}
    call: Json = {"id": part.id, "type": "function", "function": function}
    if part.seal:
        call["extra_content"] = write_tool_seal(part)
    return call
