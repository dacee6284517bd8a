"""What Gemini's models differ in, as far as a call must be written differently for them.

Sources: ai.google.dev/gemini-api/docs/thinking, …/docs/gemini-3, …/docs/openai#thinking
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_VERSION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)(?:\.(\d+))?")
_LATEST = (99, 0)
_GEMINI_3 = (3, 0)


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    version: tuple[int, int]
    """(2, 5); a name without a number, such as `gemini-flash-latest`, is taken for the newest."""

    @property
    def is_third(self) -> bool:
        """Gemini 3 and later: levels of thinking, checked signatures, images in results, JSON beside tools."""
        return self.version >= _GEMINI_3

    @property
    def thinking(self) -> Literal["level", "budget", ""]:
        if self.is_third:
            return "level"
        return "budget" if self.version >= (2, 5) else ""

    def level(self, effort: str) -> str:
        """The level for a word; Pro models cannot do with less than `LOW`, the first of them has no `MEDIUM`."""
        is_pro = "-pro" in self.name
        if effort in ("none", "minimal"):
            return "LOW" if is_pro else "MINIMAL"
        if effort == "medium" and is_pro and self.version == _GEMINI_3:
            return "HIGH"
        return {"low": "LOW", "medium": "MEDIUM"}.get(effort, "HIGH")

    def budget(self, tokens: int) -> int:
        """A budget in the model's range. -1: as the model sees fit; 0: none, which Pro cannot."""
        if tokens < 0:
            return -1
        least, most, can_rest = next((row for word, row in _BUDGETS if word in self.name), _FLASH)
        return 0 if tokens == 0 and can_rest else min(max(tokens, least), most)


_FLASH = (1, 24576, True)
_BUDGETS = (("flash-lite", (512, 24576, True)), ("-pro", (128, 32768, False)))
"""Least and most tokens, and whether thinking can be switched off."""


def model_of(name: str) -> Model:
    name = name.rpartition("/")[2].lower()
    found = _VERSION.match(name)
    if found is not None:
        return Model(name, (int(found[1][:4]), int((found[2] or "0")[:4])))
    # Gemma and tuned models have none of the newer ways.
    return Model(name, _LATEST if name.startswith("gemini-") else (0, 0))
