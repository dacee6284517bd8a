"""What Gemini's models differ in, as far as a call must be written differently for them.

Sources: ai.google.dev/gemini-api/docs/thinking (levels of each model), …/docs/gemini-3, …/docs/openai#thinking,
…/docs/generate-content/whats-new-gemini-3.6 (sampling, penalties, the last turn)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_VERSION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)(?:\.(\d+))?")
_LATEST = (99, 0)
_GEMINI_3 = (3, 0)
_OLDER_3 = re.compile(r"gemini-3(\.1)?-|gemini-3\.5-flash(?!-lite)")
"""The third generation before it gave up sampling and begun answers."""


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
    def instructs(self) -> bool:
        """Whether it takes a `systemInstruction` (ai.google.dev/gemma/docs/core/prompt-structure)."""
        return not self.name.startswith(("gemma-2", "gemma-3"))

    @property
    def thinking(self) -> Literal["level", "budget", ""]:
        if "-tts" in self.name or ("-image" in self.name and not self.is_third):
            return ""
        if self.is_third:
            return "level"
        return "budget" if self.version >= (2, 5) else ""

    @property
    def samples(self) -> bool:
        """Whether temperature, top_p and top_k mean something to it, and an answer may be begun for it."""
        return not self.is_third or _OLDER_3.match(self.name) is not None

    @property
    def penalizes(self) -> bool:
        """Whether it takes penalties: `Penalty is not enabled for models/gemini-2.5-pro`."""
        return self.version < (2, 5)

    @property
    def matches_ids(self) -> bool:
        """Whether calls and results are matched by their ids; older models match them by name and order, and some
        of their servers refuse ids."""
        return self.is_third

    def level(self, effort: str) -> str:
        """The level for a word, or the next that the model has."""
        if "-image" in self.name:
            return "MINIMAL" if effort in ("none", "minimal", "low") else "HIGH"
        if effort in ("none", "minimal"):
            return "MINIMAL" if self._rests else "LOW"
        if effort == "medium" and "-pro" in self.name and self.version == _GEMINI_3:
            return "HIGH"
        return {"low": "LOW", "medium": "MEDIUM"}.get(effort, "HIGH")

    @property
    def _rests(self) -> bool:
        return "flash-lite" in self.name or ("flash" in self.name and self.version < (3, 7))

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
