"""Whole replies of the legacy API."""

from __future__ import annotations

from typing import Any

from shin_gateway.translation.form import Answer, AnyPart, Choice, Json, Text
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.openai_chat.usage import write_finish, write_usage
from shin_gateway.translation.translator import Origin


def as_chat(choice: Json) -> Json:
    message = {"content": choice.get("text"), "reasoning": choice.get("reasoning")}
    return {**choice, "message": message}


def write_reply(answer: Answer, origin: Origin, losses: Losses) -> Json:
    choices = answer.choices or [Choice(finish="filtered")]
    reply: Json = {
        "id": answer.id or f"cmpl-{origin.call_id}",
        "object": "text_completion",
        "created": answer.created or origin.created,
        "model": origin.model,
        "choices": [_choice(choice, index, losses) for index, choice in enumerate(choices)],
    }
    if answer.usage is not None:
        reply["usage"] = write_usage(answer.usage)
    return reply


def _choice(choice: Choice, index: int, losses: Losses) -> Json:
    for part in choice.parts:
        note(part, losses)
    return {
        "text": "".join([part.text for part in choice.parts if isinstance(part, Text)]),
        "index": index,
        "logprobs": write_tokens(choice.logprobs, 0) if choice.logprobs is not None else None,
        "finish_reason": reason_of(choice.finish),
    }


def note(part: AnyPart, losses: Losses) -> None:
    if not isinstance(part, Text):
        losses.soften(type(part).__name__.lower())


def reason_of(finish: Any) -> str:
    word = write_finish(finish, [], legacy=False)
    return "stop" if word == "tool_calls" else word


def write_tokens(tokens: list[Json], start: int) -> Json:
    texts = [str(token.get("token", "")) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(start)
        start += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [token.get("logprob") for token in tokens],
        "top_logprobs": [_write_top(token) for token in tokens],
        "text_offset": offsets,
    }


def _write_top(token: Json) -> Json:
    tops = token.get("top_logprobs")
    tops = tops if isinstance(tops, list) else []
    return {str(top.get("token")): top.get("logprob") for top in tops if isinstance(top, dict)}
