"""Whole replies of this API, both ways. platform.claude.com/docs/en/api/messages (response)"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shin_gateway.dialects.anthropic_messages import STATUS_OF
from shin_gateway.dialects.base import Failure, is_retryable
from shin_gateway.dialects.numbers import word_of
from shin_gateway.errors import UpstreamFailed
from shin_gateway.translation import seals
from shin_gateway.translation.anthropic_messages import usage
from shin_gateway.translation.anthropic_messages.blocks_in import read_citations
from shin_gateway.translation.anthropic_messages.blocks_out import citation
from shin_gateway.translation.anthropic_messages.names import (
    FINISHES,
    ORIGIN,
    STOP_REASONS,
    TIERS,
    TIERS_OUT,
    TOOL_SEAL,
    Json,
    dumps,
)
from shin_gateway.translation.anthropic_messages.server_tools import builtin
from shin_gateway.translation.form import (
    Answer,
    AnyPart,
    Builtin,
    Choice,
    Finish,
    Media,
    Reasoning,
    Refused,
    Text,
    ToolUse,
)
from shin_gateway.translation.losses import Losses
from shin_gateway.translation.translator import Origin

# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def read_reply(body: Any) -> Answer:
    """Raises UpstreamFailed for what is no message, and for an error that came as a success."""
    content = body.get("content") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        failure = read_event_error(body)
        raise UpstreamFailed(failure.message, status=failure.status)
    if not isinstance(content, list):
        raise UpstreamFailed("The provider's reply is no message of its API.", code="upstream_malformed")
    parts = [part for block in content if (part := read_block(block)) is not None]
    reason = body.get("stop_reason")
    if refusal := _refusal(body.get("stop_details")) if not parts else None:
        parts.append(refusal)
    choice = Choice(
        parts=parts,
        finish=finish_of(reason) if isinstance(reason, str) else None,
        stop_sequence=word_of(body, "stop_sequence"),
    )
    found = body.get("usage")
    return Answer(
        id=word_of(body, "id"),
        model=word_of(body, "model"),
        choices=[choice],
        usage=usage.take(found, {}),
        service_tier=tier_of(found),
    )


def finish_of(reason: str) -> Finish:
    return FINISHES.get(reason, "stop")


def tier_of(found: Any) -> str:
    word = found.get("service_tier") if isinstance(found, dict) else None
    return TIERS.get(word, "") if isinstance(word, str) else ""


def _refusal(details: Any) -> Refused | None:
    """Why the model would not, where it says so."""
    text = word_of(details, "explanation") if isinstance(details, dict) else ""
    return Refused(text=text) if text else None


def read_block(block: Any) -> AnyPart | None:
    """A block of a reply; None for what is none."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return Text(text=word_of(block, "text"), citations=read_citations(block.get("citations")))
    if kind == "thinking":
        return Reasoning(text=word_of(block, "thinking"), seal=word_of(block, "signature"), origin=ORIGIN)
    if kind == "redacted_thinking":
        return Reasoning(seal=word_of(block, "data"), redacted=True, origin=ORIGIN)
    if kind == "tool_use":
        return ToolUse(id=word_of(block, "id"), name=word_of(block, "name"), arguments=_arguments(block), origin=ORIGIN)
    return builtin(block) if isinstance(kind, str) else None


def _arguments(block: Json) -> str:
    try:
        return dumps(block.get("input") or {})
    except (RecursionError, UnicodeEncodeError, TypeError, OverflowError):
        raise UpstreamFailed("The provider's reply holds a tool's input that is no JSON.") from None


# ── errors ──────────────────────────────────────────────────────────────────────────────────────

_LONGEST = 4000


def read_error(body: Any, status: int) -> Failure:
    """`{"type": "error", "error": {type, message}}`, or what a server that is only alike has. Never raises.

    Vertex's own errors, of a stream, come in a list.
    """
    if isinstance(body, list) and body:
        body = body[0]
    found = body.get("error") if isinstance(body, dict) else None
    if isinstance(found, dict):
        kind, message = word_of(found, "type"), word_of(found, "message")
    else:
        owner = body if isinstance(body, dict) else {}
        kind, message = "", found if isinstance(found, str) else word_of(owner, "message") or word_of(owner, "detail")
    kind = kind or next((name for name, one in STATUS_OF.items() if one == status), "api_error")
    message = message[:_LONGEST] or f"The provider answered with status {status}."
    return Failure(status, kind, message, is_retryable(status))


def read_event_error(event: Json) -> Failure:
    """The error in an event of a stream, with the status it would have had."""
    found = event.get("error")
    kind = word_of(found, "type") if isinstance(found, dict) else ""
    return read_error(event, STATUS_OF.get(kind, 500))


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


def write_reply(answer: Answer, origin: Origin, losses: Losses) -> Json:
    choice = answer.choices[0] if answer.choices else Choice(finish="filtered")
    if len(answer.choices) > 1:
        losses.soften("n")
    content: list[Json] = []
    thoughts = thoughts_for(origin)
    for part in choice.parts:
        content.extend(write_part(part, thoughts, losses))
    finish = choice.finish or "stop"
    message = opening(answer.id, origin, answer.model)
    message["content"] = content
    message |= ending(finish, choice.parts, choice.stop_sequence)
    message["usage"] = usage.whole(answer.usage, TIERS_OUT.get(answer.service_tier, ""))
    return message


def opening(id: str, origin: Origin, model: str) -> Json:
    """What a message begins with, without usage."""
    return {
        "id": id if id.startswith("msg_") else f"msg_{origin.call_id.removeprefix('msg_')}",
        "type": "message",
        "role": "assistant",
        "model": origin.model or model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def ending(finish: Finish, parts: list[AnyPart], stop_sequence: str) -> Json:
    """`stop_reason` and what belongs to it."""
    if finish == "stop" and any(isinstance(part, ToolUse) for part in parts):
        finish = "tools"  # clients run tools only then
    refused = next((part.text for part in parts if isinstance(part, Refused)), None)
    if finish == "stop" and refused is not None:
        finish = "refused"
    known = bool(stop_sequence) or finish != "stop_sequence"
    ended: Json = {
        "stop_reason": STOP_REASONS[finish] if known else "end_turn",
        "stop_sequence": stop_sequence or None,
    }
    if ended["stop_reason"] == "refusal":
        ended["stop_details"] = {"type": "refusal", "category": None, "explanation": refused or None}
    return ended


def write_part(part: AnyPart, thoughts: Thoughts, losses: Losses) -> list[Json]:
    """The blocks for one part of a reply."""
    if isinstance(part, Text):
        return [_text_block(part, losses)] if part.text else []
    if isinstance(part, Refused):
        return [{"type": "text", "text": part.text}] if part.text else []
    if isinstance(part, Reasoning):
        return _reasoning(part, thoughts, losses)
    if isinstance(part, ToolUse):
        carrier = tool_seal(part)
        return [*carrier, {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}]
    if isinstance(part, Builtin) and part.origin == ORIGIN:
        return part.raw
    losses.soften(f"content.{part.kind}" if isinstance(part, Media) else "content.server_tool_use")
    return [{"type": "text", "text": part.text}] if isinstance(part, Media) and part.text else []


def _text_block(part: Text, losses: Losses) -> Json:
    block: Json = {"type": "text", "text": part.text}
    if part.citations:
        found = [written for one in part.citations if (written := citation(one)) is not None]
        if found:
            block["citations"] = found
        if len(found) < len(part.citations):
            losses.soften("content.citations")
    return block


# ── thoughts ────────────────────────────────────────────────────────────────────────────────────

Thoughts = Literal["shown", "hidden", "none"]


def thoughts_for(origin: Origin) -> Thoughts:
    """What a client gets of the thoughts of models that think unasked.

    One that asked for none and has no tools reads the first block as the answer: it gets none. With tools they have to
    come back on the next turn, so it gets blocks without text, as `display: omitted` gives them.
    """
    wish = origin.chat.reasoning
    if wish is not None and wish.budget != 0 and wish.effort != "none":
        return "hidden" if wish.show is False else "shown"
    return "hidden" if origin.chat.tools else "none"


def _reasoning(part: Reasoning, thoughts: Thoughts, losses: Losses) -> list[Json]:
    """A thinking block, in whose signature another provider's seal travels."""
    if thoughts == "none":
        losses.soften("content.thinking")
        return []
    if part.redacted and part.origin == ORIGIN:
        return [{"type": "redacted_thinking", "data": part.seal}]
    if not part.text and not part.seal:
        return []
    shown = part.text if thoughts == "shown" else ""
    return [{"type": "thinking", "thinking": shown, "signature": signature(part, thoughts)}]


def signature(part: Reasoning, thoughts: Thoughts) -> str:
    """The seal as a signature; another provider's with all that this one's block has no room for."""
    if part.origin == ORIGIN:
        return part.seal
    text = part.text if thoughts == "hidden" else ""
    return seals.pack(seals.Parcel(origin=part.origin, seal=part.seal, id=part.id, text=text, redacted=part.redacted))


def tool_seal(part: ToolUse) -> list[Json]:
    """The block that carries the seal of another provider's tool use."""
    if not part.seal or part.origin == ORIGIN:
        return []
    parcel = seals.Parcel(origin=part.origin, seal=part.seal, id=TOOL_SEAL + part.id)
    return [{"type": "thinking", "thinking": "", "signature": seals.pack(parcel)}]


def _input(part: ToolUse) -> Json:
    """What the model wrote, as an object: anything else under the name that the writer of calls takes it from."""
    if not part.arguments or (part.arguments.isspace() and not part.custom):
        return {}
    try:
        found = part.arguments if part.custom else msgspec.json.decode(part.arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = part.arguments
    return found if isinstance(found, dict) else {"input": found}
