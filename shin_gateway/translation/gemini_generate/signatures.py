"""Thought signatures: Gemini's own, and other providers' seals on their way through a Gemini client.

A signature is bytes, so in JSON it is base64. A foreign seal travels as the base64 of its packed text. Clients keep
the signature of a function call but often not the thoughts (Gemini CLI strips them), so the seals of the thoughts
before a call travel with the call too, texts included: Anthropic wants them back there.

Source: ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from shin_gateway.translation.form import Reasoning
from shin_gateway.translation.gemini_generate.fields import NAME
from shin_gateway.translation.seals import Parcel, pack, unpack

SKIP = "skip_thought_signature_validator"
"""What the documents say to send for a function call that Gemini 3 did not make itself."""

_OURS = base64.b64encode(b"shin1.").decode()
_URLSAFE = str.maketrans("-_", "+/")


def sealed(thoughts: Iterable[Reasoning], with_text: bool = False) -> str:
    """A signature that holds the seals of these thoughts; empty where none has one."""
    packed = [pack(_parcel(thought, with_text)) for thought in thoughts if thought.seal]
    return base64.b64encode(" ".join(packed).encode()).decode() if packed else ""


def _parcel(thought: Reasoning, with_text: bool) -> Parcel:
    text = thought.text if with_text else ""
    return Parcel(thought.origin, thought.seal, thought.id, text, thought.redacted)


def unsealed(signature: str) -> list[Reasoning]:
    """The thoughts whose seals are in a signature; none in one that is Gemini's own."""
    if not signature.startswith(_OURS):
        return []
    try:
        text = base64.b64decode(signature.translate(_URLSAFE) + "==").decode("ascii")
    except (binascii.Error, ValueError):
        return []
    return [_thought(parcel) for parcel in map(unpack, text.split()) if parcel is not None]


def _thought(parcel: Parcel) -> Reasoning:
    return Reasoning(
        text=parcel.text, seal=parcel.seal, redacted=parcel.redacted, id=parcel.id, origin=parcel.origin or NAME
    )
