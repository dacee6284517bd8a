"""Thoughts in Chat Completions, which OpenAI's own API has no field for, and their seals.

`reasoning_content` (DeepSeek, xAI, vLLM, Qwen, Moonshot), `reasoning` (Groq, Ollama, OpenRouter) hold text;
OpenRouter's `reasoning_details` hold text with signatures and encrypted content
(openrouter.ai/docs/use-cases/reasoning-tokens); GitHub Copilot has `reasoning_text` and, sealed, `reasoning_opaque`
(the types of its own client, github.com/microsoft/vscode-copilot-chat). A client gets `reasoning_content`, and for
sealed thoughts `reasoning_details` besides, in which a seal of another dialect travels packed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shin_gateway.translation.form import Reasoning, ToolUse
from shin_gateway.translation.seals import Parcel, pack, unpack

ORIGIN = "openai.chat"
FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
OPAQUE = "reasoning_opaque"
_TEXT_OF = {"reasoning.text": "text", "reasoning.summary": "summary"}
_GEMINI = "gemini.generate"
_FORMAT = "shin-v1"

Json = dict[str, Any]


def text_of(owner: Json) -> str:
    """The thoughts in a message or a delta, which some servers send under two names at once."""
    for name in FIELDS:
        value = owner.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def details_of(owner: Json) -> list[Json]:
    details = owner.get("reasoning_details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def opaque_in(owner: Json) -> list[Json]:
    """Copilot's seal in the form of an entry of `reasoning_details`; none where there is none."""
    opaque = owner.get(OPAQUE)
    return [{OPAQUE: opaque}] if isinstance(opaque, str) and opaque else []


def read_reasoning(owner: Json) -> list[Reasoning]:
    """The thoughts of a whole message, of a call or of a reply."""
    text = text_of(owner)
    parts = [part for part in map(read_detail, [*details_of(owner), *opaque_in(owner)]) if part.text or part.seal]
    if text and not any(part.text for part in parts):
        if len(parts) == 1:
            parts[0].text = text
            return parts
        parts.insert(0, Reasoning(text=text, origin=ORIGIN))
    return parts


def read_detail(detail: Json) -> Reasoning:
    """One entry of `reasoning_details`; empty where it says nothing."""
    kind = detail.get("type")
    name = _TEXT_OF.get(kind, "") if isinstance(kind, str) else ""
    text = detail.get(name) if name else None
    part = Reasoning(text=text if isinstance(text, str) else "", summary=name == "summary", origin=ORIGIN)
    for field in ("signature", "data"):
        parcel = unpack(value) if isinstance(value := detail.get(field), str) else None
        if parcel is not None:
            return _unpacked(part, parcel)
    if detail.get("signature") or detail.get("data") or OPAQUE in detail:
        part.seal = seal_of(detail)
    return part


def _unpacked(part: Reasoning, parcel: Parcel) -> Reasoning:
    part.seal, part.id, part.origin = parcel.seal, parcel.id, parcel.origin
    part.text, part.redacted = part.text or parcel.text, parcel.redacted
    return part


def seal_of(detail: Json) -> str:
    """All of an entry but its text, to be returned as it came."""
    rest = {key: value for key, value in detail.items() if key not in ("text", "summary")}
    try:
        return msgspec.json.encode(rest).decode()
    except (RecursionError, UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        return ""


def write_detail(part: Reasoning, index: int) -> Json:
    """A sealed thought as an entry of `reasoning_details` for a client, or for the server that sealed it."""
    name = "summary" if part.summary else "text"
    if part.origin == ORIGIN:
        entry = _json(part.seal)
        return {**entry, name: part.text} if part.text and entry.get("type") in _TEXT_OF else entry
    parcel = pack(Parcel(origin=part.origin, seal=part.seal, id=part.id, redacted=part.redacted))
    entry = {"type": f"reasoning.{name}", name: part.text, "signature": parcel}
    if not part.text:
        entry = {"type": "reasoning.encrypted", "data": parcel}
    return {**entry, "id": part.id or None, "format": _FORMAT, "index": index}


def opaque_of(thoughts: list[Reasoning]) -> str:
    """Copilot's own seal among these thoughts, or empty."""
    found = (_json(part.seal).get(OPAQUE) for part in thoughts if part.origin == ORIGIN)
    return next((seal for seal in found if isinstance(seal, str)), "")


def _json(seal: str) -> Json:
    try:
        found = msgspec.json.decode(seal)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_tool_seal(call: Json) -> tuple[str, str]:
    """Seal and origin of a tool call: `extra_content.google.thought_signature` (Vertex: `.vertex.`).

    Source: ai.google.dev/gemini-api/docs/thought-signatures#openai
    """
    extra = call.get("extra_content")
    for name in ("google", "vertex") if isinstance(extra, dict) else ():
        inner = extra.get(name) if isinstance(extra, dict) else None
        seal = inner.get("thought_signature") if isinstance(inner, dict) else None
        if isinstance(seal, str) and seal:
            parcel = unpack(seal)
            return (parcel.seal, parcel.origin) if parcel else (seal, _GEMINI)
    return "", ""


def write_tool_seal(part: ToolUse) -> Json:
    """As Gemini's compatible API has it; what Gemini did not make is packed."""
    seal = part.seal if part.origin == _GEMINI else pack(Parcel(origin=part.origin, seal=part.seal))
    return {"google": {"thought_signature": seal}}
