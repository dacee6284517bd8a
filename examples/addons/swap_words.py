"""Replace words in what is sent to a model, and put the old ones back in what it answers.

addons:
  swap_words: {words: {Project Falcon: Project Alpha}}
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shin_gateway.addon import Addon, Forward, Mode, Services, Settings, Stage
from shin_gateway.call import Call
from shin_gateway.reply import Reply
from shin_gateway.texts import Words


def _reversible(words: dict[str, str]) -> dict[str, str]:
    if not all(words) or not all(words.values()):
        raise ValueError("a word cannot be empty")
    if len(set(words.values())) < len(words) or words.keys() & set(words.values()):
        raise ValueError("each word needs a replacement of its own that is none of the words, or none can be restored")
    return words


class SwapWordsSettings(Settings):
    words: Annotated[dict[str, str], AfterValidator(_reversible)] = Field(default_factory=dict)
    """What to replace by what, in upper and lower case as written here."""


class SwapWords(Addon[SwapWordsSettings]):
    stage = Stage.GUARD
    changes_calls = True

    def __init__(self, settings: SwapWordsSettings, services: Services, mode: Mode = "enforce") -> None:
        super().__init__(settings, services, mode)
        self._swap = Words(settings.words)
        self._restore = Words({new: old for old, new in settings.words.items()})

    async def handle(self, call: Call, forward: Forward) -> Reply:
        if call.kind in ("models", "other"):  # these hold no conversation
            return await forward(call)
        call.rewrite(self._swap)
        reply = await forward(call)
        reply.rewrite(self._restore)
        return reply
