"""What the models behind this API can do, as data: their output limits, and what they refuse with a 400.

Sources: platform.claude.com/docs/en/models/overview (limits, thinking), …/build-with-claude/effort and …/thinking
(levels, types), …/models/<model>/migration-guide (what is refused), …/build-with-claude/structured-outputs and
…/mid-conversation-system-messages. A row's `quirks` may say otherwise for its server: `words` with the names of fields
below, `yes` or `no` for those that are true or false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

_ALL = ("low", "medium", "high", "xhigh", "max")
_NO_XHIGH = ("low", "medium", "high", "max")


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One model, or a family of them. What is not said holds for Claude 3 and for other makers' models."""

    max_output: int = 8192
    known: bool = False
    """Whether `max_output` is the model's true limit rather than a safe guess."""
    thinking: Literal["none", "budget", "adaptive"] = "none"
    thinks: bool = False
    """Whether it thinks when nothing is said."""
    off: str = "disabled"
    """`thinking.type` that turns it off; empty where nothing does."""
    efforts: tuple[str, ...] = ()
    sampling: bool = True
    """Whether it takes temperature, top_p and top_k."""
    one_sampling: bool = False
    """Whether it takes only one of temperature and top_p."""
    prefill: bool = True
    """Whether the last message may be the assistant's."""
    forced_tools: bool = True
    """Whether a call of a tool may be demanded."""
    schemas: bool = False
    """Structured outputs and strict tools."""
    system_messages: bool = False
    """Whether messages of role `system` may stand among the others."""


_OLD: dict[str, Any] = {"known": True, "thinking": "budget"}
_4_5 = _OLD | {"max_output": 64000, "one_sampling": True, "schemas": True}
_4_6: dict[str, Any] = _4_5 | {"thinking": "adaptive", "prefill": False, "efforts": _NO_XHIGH}
_4_7 = _4_6 | {"max_output": 128000, "efforts": _ALL, "sampling": False}
_5 = _4_7 | {"thinks": True}
_ALWAYS = _5 | {"off": "", "system_messages": True}
_NEWEST = _ALWAYS | {"forced_tools": False}

_CARDS: dict[str, Card] = {
    "haiku-3": Card(max_output=4096, known=True),
    "sonnet-3": Card(max_output=4096, known=True),
    "opus-3": Card(max_output=4096, known=True),
    "haiku-3-5": Card(max_output=8192, known=True),
    "sonnet-3-5": Card(max_output=8192, known=True),
    "sonnet-3-7": Card(**_OLD, max_output=64000),
    "opus-4": Card(**_OLD, max_output=32000),
    "opus-4-1": Card(**_OLD, max_output=32000, one_sampling=True),
    "sonnet-4": Card(**_OLD, max_output=64000),
    "haiku-4-5": Card(**_4_5),
    "sonnet-4-5": Card(**_4_5),
    "opus-4-5": Card(**_4_5),
    "sonnet-4-6": Card(**_4_6),
    "opus-4-6": Card(**_4_6 | {"max_output": 128000}),
    "opus-4-7": Card(**_4_7),
    "opus-4-8": Card(**_4_7, system_messages=True),
    "mythos": Card(**_ALWAYS | {"efforts": _NO_XHIGH}),
    "sonnet-5": Card(**_5),
    "opus-5": Card(**_5, system_messages=True),
    "fable-5": Card(**_ALWAYS),
    "mythos-5": Card(**_ALWAYS),
    "haiku-5-5": Card(**_5, system_messages=True),
    "sonnet-5-5": Card(**_NEWEST | {"off": "between_tools"}),
    "opus-5-5": Card(**_NEWEST),
}
_NEW = Card(**_NEWEST)
"""Models newer than those above: what every one of the newest takes."""
_UNKNOWN = Card()

# claude-opus-4-5-20251101, claude-3-5-haiku-latest, claude-opus-4@20250514, claude-5.5-sonnet, anthropic.claude-….
_LINE = re.compile(r"claude-(?:(\d)(?:[-.](\d))?-)?(haiku|sonnet|opus|fable|mythos)(?:-(\d)(?!\d)(?:[-.](\d)(?!\d))?)?")


@lru_cache(maxsize=256)
def card_of(model: str) -> Card:
    """The card of a model by its name, also as clouds and resellers write it."""
    found = _LINE.search(model.lower())
    if found is None:
        return _UNKNOWN
    major, minor, line, major_after, minor_after = found.groups()
    version = "-".join(part for part in (major or major_after, minor or minor_after) if part and part != "0")
    if card := _CARDS.get(f"{line}-{version}" if version else line):
        return card
    return _NEW if version >= "5" else _UNKNOWN


_FLAGS = ("thinks", "sampling", "one_sampling", "prefill", "forced_tools", "schemas", "system_messages")


def amended(card: Card, words: Mapping[str, str]) -> Card:
    """The card with what a row of providers.yaml knows better."""
    changes: dict[str, Any] = {name: words[name] == "yes" for name in _FLAGS if name in words}
    if words.get("thinking") in ("none", "budget", "adaptive"):
        changes["thinking"] = words["thinking"]
    return msgspec.structs.replace(card, **changes) if changes else card
