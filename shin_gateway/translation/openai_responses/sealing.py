"""How what another provider sealed travels through a Responses client: as `encrypted_content` of a reasoning item.

Clients must hand reasoning items back as they came, and all do, Codex too, which leaves out the ids of function calls
(developers.openai.com/api/docs/guides/reasoning#keeping-reasoning-items-in-context). So a tool call's seal (Gemini's
thought signature) travels in a reasoning item of its own beside the call, whose parcel names the `call_id`.
"""

from __future__ import annotations

from shin_gateway.translation.form import Reasoning, ToolUse
from shin_gateway.translation.openai_responses.names import ORIGIN
from shin_gateway.translation.seals import Parcel, pack, unpack

_OF_CALL = "call:"


def sealed(part: Reasoning) -> str:
    """`encrypted_content` of a thought, empty where it has none."""
    if not part.seal or part.origin == ORIGIN:
        return part.seal
    return pack(Parcel(origin=part.origin, seal=part.seal, id=part.id, redacted=part.redacted))


def carried(part: ToolUse) -> str:
    """`encrypted_content` of the item that carries a tool call's seal."""
    return pack(Parcel(origin=part.origin, seal=part.seal, id=_OF_CALL + part.id))


def opened(encrypted: str, id: str, text: str, summary: bool) -> Reasoning | ToolUse:
    """What a reasoning item means; a ToolUse without a name is only a seal, on its way back to the call of that id."""
    parcel = unpack(encrypted)
    if parcel is None:
        return Reasoning(text=text, summary=summary, seal=encrypted, id=id, origin=ORIGIN)
    if parcel.id.startswith(_OF_CALL):
        return ToolUse(id=parcel.id[len(_OF_CALL) :], name="", seal=parcel.seal, origin=parcel.origin)
    return Reasoning(
        text=parcel.text or text,
        summary=summary and not parcel.text,
        seal=parcel.seal,
        redacted=parcel.redacted,
        id=parcel.id,
        origin=parcel.origin,
    )
