"""The `words:` of a provider's quirks that this dialect's writer honours, and what goes without saying at OpenAI.

- `developer: system`: knows no role `developer`.
- `names: no`: refuses `name` in messages.
- `texts: join`: takes `content` as one string where it is only text.
- `files: no`: takes no `file` parts; `video: yes`: takes `video_url` parts.
- `audio: no`: takes no `input_audio` parts.
- `urls: no`: fetches no URLs of images; they are inlined before.
- `tool_ids: short`: wants ids of nine letters and digits.
- `after_tool: TEXT`: refuses a user's message after a tool's; an assistant's with this text goes between them.
- `required: any`: its word for `tool_choice: required`.
- `allowed_tools: no`: no `allowed_tools` in the choice; the list of tools is shortened instead.
- `strict: no`: refuses `strict` in tools. `custom_tools: no`: no free-form tools; functions instead.
- `json_schema: no`: only `json_object`; the schema goes into the instructions.
- `past_reasoning: FIELD`: past thoughts are returned in `reasoning_content`, `reasoning`, `reasoning_details`, or as
  `thinking` parts of the content. Without it they stay behind.
- `tool_seals: yes`: wants `extra_content.google.thought_signature` on tool calls.
- `effort: FIELD`: how much to think is said in `reasoning_effort` (the default), `reasoning`, `thinking` or `no` where.
- `efforts: WORDS`: the words it takes. `effort_models: REGEX`: the only models that take any.
- `fixed_models: REGEX`: models that refuse the fields `fixed: NAMES`; unless they do not think, where `fixed_when:
  thinking` says so.
- `reasoning_format: REGEX`: models that put thoughts apart only when asked (`reasoning_format: parsed`).
- `web_search_models: REGEX`: the only models that take `web_search_options`.
- `metadata: stored`: takes `metadata` only together with `store`.
- `top_k: yes`: knows `top_k`. `max_stop: N`: how many stop sequences (4). `max_temperature: N` (2).
"""

from __future__ import annotations

import re
from functools import lru_cache

from shin_gateway.translation.form import Chat, Effort, ReasoningWish
from shin_gateway.translation.translator import Traits

ORDER: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

THINKERS = r"^(openai/)?(o[1-9]\b|gpt-(5|6|7)(?!.*chat)|codex-)"
"""OpenAI's models that think: they refuse what steers sampling, others refuse `reasoning_effort`."""
OTHERS = r"^(openai/)?(gpt-[34]|chatgpt-|gpt-5.*chat)"
_OFF_BY_DEFAULT = r"gpt-5\.[1-9]"
"""Models that think only when told to."""
FIXED = "temperature top_p presence_penalty frequency_penalty logprobs top_logprobs logit_bias"
_EFFORTS = (
    (r"gpt-5\.[1-9].*pro", "medium high xhigh"),
    (r"gpt-5\.1-codex-max", "none low medium high xhigh"),
    (r"gpt-5\.1", "none low medium high"),
    (r"gpt-5\.[2-9]", "none low medium high xhigh"),
    (r"gpt-5-pro", "high"),
    (r"gpt-5-codex", "low medium high"),
    (r"gpt-5", "minimal low medium high"),
    (r"o[1-9]\b|codex-", "low medium high"),
)
"""Source: `reasoning_effort` at developers.openai.com/api/reference and the models' pages."""


@lru_cache(maxsize=256)
def matches(pattern: str, model: str) -> bool:
    try:
        return re.search(pattern, model) is not None
    except re.error:
        return False


def limit(traits: Traits, name: str, otherwise: float) -> float:
    """A word that is a number; `otherwise` where it is none."""
    try:
        return float(traits.words.get(name, otherwise))
    except ValueError:
        return otherwise


def accepted_efforts(traits: Traits) -> tuple[str, ...]:
    if words := traits.words.get("efforts"):
        return tuple(words.split())
    for pattern, row in _EFFORTS:
        if matches(f"^(openai/)?({pattern})", traits.model):
            return tuple(row.split())
    return ORDER


def nearest(effort: Effort, accepted: tuple[str, ...]) -> str:
    """The accepted word with the smallest distance, of two the lower one."""
    if effort in accepted:
        return effort
    place = ORDER.index(effort)
    known = [word for word in ORDER if word in accepted]
    return min(known, key=lambda word: abs(ORDER.index(word) - place), default=effort)


def takes_effort(traits: Traits) -> bool:
    pattern = traits.words.get("effort_models")
    return matches(pattern, traits.model) if pattern else not matches(OTHERS, traits.model)


def fixed_fields(chat: Chat, traits: Traits) -> tuple[str, ...]:
    """Fields that this model refuses."""
    words = traits.words
    pattern = words.get("fixed_models", THINKERS)
    if not matches(pattern, traits.model):
        return ()
    if ("fixed_models" not in words or words.get("fixed_when") == "thinking") and not _thinks(chat.reasoning, traits):
        return ()
    return tuple(words.get("fixed", FIXED).split())


def _thinks(wish: ReasoningWish | None, traits: Traits) -> bool:
    if "none" not in accepted_efforts(traits):
        return True
    if wish is None or (wish.effort is None and wish.budget is None):
        return not matches(_OFF_BY_DEFAULT, traits.model)
    return wish.effort != "none" and wish.budget != 0
